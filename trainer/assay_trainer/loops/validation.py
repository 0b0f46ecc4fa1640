"""Greedy answers to held-out prompts, before training and while it goes on."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from statistics import fmean

from pydantic.alias_generators import to_snake

from assay_api import ThinkingMode
from assay_data.dataset import ClipRow
from assay_data.dataset.order import derived_seed
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.loops.answer_form import (
    LOW_WELL_FORMED,
    form_advice,
    missing_in,
    shown_answers,
)
from assay_trainer.loops.factuality_metrics import held_out_factuality
from assay_trainer.records import Frames, PromptItem, Rollout
from assay_trainer.rewards.factuality import FactualityCheck
from assay_trainer.rewards.judges.chat import image_urls
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.mode_followed import ModeFollowedReward
from assay_trainer.rewards.outcome import Score
from assay_trainer.rollout.sampler import ClipRequest, SamplerPool, SamplingPlan

_LOG = logging.getLogger(__name__)

HELD_OUT = "accuracy/held_out_"
"""What the names of the accuracies of each thinking mode start with."""
VALUE = "answer_value/held_out_"
"""The same of the mean values of a metric that has more values than right and wrong."""


class Validator:
    """Answers the same prompts each time and says how good the answers are."""

    def __init__(
        self,
        pool: SamplerPool,
        prompts: Sequence[PromptItem],
        judges: Mapping[str, Judging],
        frames: Callable[[str], Frames],
        answers: AnswerRule,
        *,
        max_tokens: int,
        check: FactualityCheck | None = None,
    ) -> None:
        """Ask these prompts; judges and a verifier, if any, score the reasoning in think mode."""
        self._answers, self._check = answers, check
        self._pool, self._prompts, self._judges, self._frames = pool, prompts, judges, frames
        self._plan = SamplingPlan(num_samples=1, max_tokens=max_tokens, temperature=0.0)

    def validate(self) -> dict[str, float]:
        """Return accuracy, form and obedience per mode, and the judges' mean score.

        Where few answers keep to the answer format, a warning shows two of them and says what to
        do: a model that answers in another form has no right answer that could be learned from.
        """
        requests = [
            ClipRequest(prompt.text, prompt.row_id, seed=0, shows=prompt.shows)
            for prompt in self._prompts
        ]
        answers = [samples[0].rollout for samples in self._pool.sample(requests, self._plan)]
        pairs = list(zip(self._prompts, answers, strict=True))
        mode_followed = ModeFollowedReward(self._answers)
        metrics: dict[str, float] = {}
        for mode in sorted({prompt.mode for prompt in self._prompts}):
            asked = [(prompt, answer) for prompt, answer in pairs if prompt.mode is mode]
            name = to_snake(mode.value)
            metrics[HELD_OUT + name] = fmean(self._answers.is_correct(*pair) for pair in asked)
            if self._answers.is_graded:
                metrics[VALUE + name] = fmean(self._answers.value(*pair) for pair in asked)
            well_formed = fmean(self._answers.parse(*pair).well_formed for pair in asked)
            metrics[f"well_formed/held_out_{name}"] = well_formed
            if well_formed < LOW_WELL_FORMED:
                _LOG.warning("%s", self._ill_formed(mode, asked, well_formed))
            metrics[f"mode/obeyed_{name}"] = fmean(
                mode_followed(*pair).value == 0 for pair in asked
            )
        for judge in self._judges.values():
            scores = self._judged(judge, pairs)
            if scores:
                metrics["judge/held_out_mean"] = fmean(scores)
        if self._check is not None:
            metrics |= held_out_factuality(self._check.verdicts(pairs))
        return metrics

    def _judged(self, judge: Judging, pairs: Sequence[tuple[PromptItem, Rollout]]) -> list[float]:
        """Ask about all reasoning, right or wrong; what got no score is left out."""

        def ask(pair: tuple[PromptItem, Rollout]) -> float | None:
            prompt, rollout = pair
            images = image_urls(self._frames(prompt.row_id), judge.spec.num_frames)
            outcome = judge.score(prompt.question, prompt.opening + rollout.text, images)
            return outcome.value if isinstance(outcome, Score) else None

        thinking = [pair for pair in pairs if pair[0].mode is ThinkingMode.THINK]
        with ThreadPoolExecutor(max_workers=judge.spec.concurrency) as threads:
            scores = list(threads.map(ask, thinking))
        return [score for score in scores if score is not None]

    def _ill_formed(
        self,
        mode: ThinkingMode,
        asked: Sequence[tuple[PromptItem, Rollout]],
        well_formed: float,
    ) -> str:
        """Say that few answers keep to the answer format, with two of them and what to do."""
        answer_format = self._answers.format
        said = [(pair[1].text, self._answers.parse(*pair).well_formed) for pair in asked]
        head = (
            f"only {well_formed:.0%} of {len(asked)} held-out answers in the mode {mode.value} "
            f"keep to the answer format (expected: {LOW_WELL_FORMED:.0%} or more). Two of them:"
        )
        missing = missing_in(answer_format, (prompt.text for prompt, _ in asked))
        advice = f"What to do: {form_advice(answer_format, missing)}"
        return "\n".join([head, *(f"  {answer}" for answer in shown_answers(said)), advice])


def held_out_sample(rows: Sequence[ClipRow], max_clips: int, seed: int) -> list[ClipRow]:
    """Return at most `max_clips` rows, as evenly from both classes as they allow."""
    by_label: dict[str, list[ClipRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    for label, members in sorted(by_label.items()):
        random.Random(derived_seed(seed, "held out", label)).shuffle(members)
    columns = [by_label[label] for label in sorted(by_label)]
    alternating = [row for line in zip_longest(*columns) for row in line if row is not None]
    return alternating[:max_clips]
