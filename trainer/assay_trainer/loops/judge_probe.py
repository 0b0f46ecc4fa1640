"""Whether a judge tells good reasoning from bad: tried on texts of which that is known.

A judge that answers nonsense, or scores everything alike, teaches noise for hours and no reward
curve shows it. So before a stage trains with it, it is asked about a few of the stage's own rows:
reasoning that leads to the right answer, and the same with one thing spoilt.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean

from assay_data.dataset import ClipRow
from assay_data.dataset.order import derived_seed
from assay_trainer.answers.letter import letter_of, parse_answer
from assay_trainer.records import FAKE, REAL, Frames
from assay_trainer.rewards.judges.chat import image_urls
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score

_LOG = logging.getLogger(__name__)

NUM_ROWS = 4
"""Rows that a judge is asked about, both classes alike; four texts each."""

LEAST_AGREEMENT = 0.75
"""Share of pairs in which the good reasoning must score higher; guessing has 0.5."""

MOST_ABSTAINED = 0.25
"""Share of answers that may hold no score."""

_WRITTEN = {
    REAL: "Let me look at the frames one after another. Shadows and highlights keep their "
    "direction, edges stay sharp, and everything that moves keeps its shape. Wait, is there a "
    "texture that crawls? No, the surfaces are steady. A camera could have recorded all of this, "
    "so the video is real.",
    FAKE: "Let me look at the frames one after another. Hmm, the texture crawls although the "
    "camera stands still, and what moves changes its shape between frames. Wait, could that be "
    "blur? No, the outlines melt into the background. A camera does not record that, so the video "
    "is fake.",
}
"""Reasoning for rows that bring none of their own; it leads to the answer, whatever is shown."""


@dataclass(frozen=True, slots=True)
class KnownReasoning:
    """Completions about one row of which it is known how good their reasoning is."""

    row_id: str
    good: str
    bad: Mapping[str, str]
    """By what is wrong with it."""


def known_reasoning(rows: Sequence[ClipRow], seed: int) -> list[KnownReasoning]:
    """Write the completions to ask about, all with the right answer.

    Good is reasoning of the row's own examples that leads to the right answer, else one written for
    its class. Bad is: what speaks for the other class (`contradictory`), the good one with its
    words shuffled (`shuffled`), and none (`empty`).

    Args:
        rows: the rows to ask about; those without a label are left out.
        seed: of the shuffled words.
    """
    rows = [row for row in rows if row.label in _WRITTEN]
    own = {row.row_id: _reasoning(row) for row in rows}
    known = []
    for row in rows:
        others = [own[other.row_id] for other in rows if other.label != row.label]
        opposite = others[0] if others else _WRITTEN[REAL if row.label == FAKE else FAKE]
        words = own[row.row_id].split()
        random.Random(derived_seed(seed, "judge probe", row.row_id)).shuffle(words)
        bad = {"contradictory": opposite, "shuffled": " ".join(words), "empty": ""}
        known.append(
            KnownReasoning(
                row.row_id,
                _completion(own[row.row_id], row.label),
                {kind: _completion(text, row.label) for kind, text in bad.items()},
            )
        )
    return known


def _reasoning(row: ClipRow) -> str:
    for example in row.examples:
        parsed = parse_answer(example.response)
        if not example.prompt and parsed.verdict == row.label and parsed.has_thinking:
            return str(parsed.thinking)
    return _WRITTEN[row.label]


def _completion(reasoning: str, label: str) -> str:
    return f"<think>{reasoning}</think><answer>{letter_of(label)}</answer>"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a judge's scores agree with what is known."""

    by_kind: Mapping[str, float]
    """Share of pairs in which the good reasoning scored higher, ties half, by what is wrong with
    the bad one; kinds without a pair that has both scores are left out."""
    agreement: float | None
    """The same over all pairs; None without any."""
    good_mean: float | None
    bad_mean: float | None
    num_asked: int
    num_abstained: int
    num_failed: int

    @property
    def abstained(self) -> float | None:
        """Share of answers that held no score; None if the judge answered nothing."""
        answered = self.num_asked - self.num_failed
        return self.num_abstained / answered if answered else None

    @property
    def separates(self) -> bool:
        """Whether the judge is of use."""
        enough = self.agreement is not None and self.agreement >= LEAST_AGREEMENT
        return enough and (self.abstained or 0.0) <= MOST_ABSTAINED

    def metrics(self) -> dict[str, float]:
        """Return what was measured; what could not be measured is no number."""
        found = {
            "judge/probe_agreement": self.agreement,
            "judge/probe_abstained": self.abstained,
            "judge/probe_good_mean": self.good_mean,
            "judge/probe_bad_mean": self.bad_mean,
        }
        return {name: value for name, value in found.items() if value is not None}


def agreement(outcomes: Sequence[tuple[Outcome, Mapping[str, Outcome]]]) -> Agreement:
    """Compare the outcome of each good completion with those of its bad ones.

    Args:
        outcomes: of each row: that of the good completion, and those of the bad ones by kind.

    Example:
        >>> one = agreement([(Score(0.8), {"empty": Score(0.1), "shuffled": Score(0.8)})])
        >>> one.agreement, dict(one.by_kind)
        (0.75, {'empty': 1.0, 'shuffled': 0.5})
    """
    wins: dict[str, list[float]] = {}
    for good, bad in outcomes:
        for kind, other in bad.items():
            if isinstance(good, Score) and isinstance(other, Score):
                wins.setdefault(kind, []).append(_win(good.value, other.value))
    every = [o for good, bad in outcomes for o in (good, *bad.values())]
    return Agreement(
        by_kind={kind: fmean(values) for kind, values in wins.items()},
        agreement=_mean([win for values in wins.values() for win in values]),
        good_mean=_mean([good.value for good, _ in outcomes if isinstance(good, Score)]),
        bad_mean=_mean([o.value for _, b in outcomes for o in b.values() if isinstance(o, Score)]),
        num_asked=len(every),
        num_abstained=sum(isinstance(outcome, Abstain) for outcome in every),
        num_failed=sum(isinstance(outcome, Failure) for outcome in every),
    )


def _win(good: float, bad: float) -> float:
    return 1.0 if good > bad else 0.5 if good == bad else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


class JudgeProbe:
    """Asks each judge about the same completions, and says how far it can be trusted."""

    def __init__(
        self,
        judges: Mapping[str, Judging],
        known: Sequence[KnownReasoning],
        question: str,
        frames: Callable[[str], Frames],
    ) -> None:
        """Ask these judges; without any, nothing is asked."""
        self._judges, self._known, self._frames = judges, known, frames
        self._question = question

    def measure(self) -> dict[str, float]:
        """Return agreement, abstentions and mean scores; tell them, as a warning if they are bad.

        Raises:
            JudgeError: too many requests in a row have failed.
        """
        metrics: dict[str, float] = {}
        for judge in self._judges.values():
            found = self._ask(judge)
            told = describe(judge.spec.name, found)
            _LOG.log(logging.INFO if found.separates else logging.WARNING, "%s", told)
            metrics |= found.metrics()
        return metrics

    def _ask(self, judge: Judging) -> Agreement:
        texts = [(k.row_id, text) for k in self._known for text in (k.good, *k.bad.values())]
        shown = {
            k.row_id: image_urls(self._frames(k.row_id), judge.spec.num_frames) for k in self._known
        }
        with ThreadPoolExecutor(max_workers=judge.spec.concurrency) as threads:
            asked = threads.map(lambda t: judge.score(self._question, t[1], shown[t[0]]), texts)
            answered = iter(list(asked))
        return agreement(
            [(next(answered), {kind: next(answered) for kind in k.bad}) for k in self._known]
        )


def describe(name: str, found: Agreement) -> str:
    """Return what the probe of a judge says, for people.

    Args:
        name: of the RewardModel.
        found: what was measured.
    """
    shares = ", ".join(f"{kind} {share:.2f}" for kind, share in found.by_kind.items())
    means = (found.good_mean, found.bad_mean)
    scores = " against ".join("no score" if mean is None else f"{mean:.2f}" for mean in means)
    agreed = "unknown" if found.agreement is None else f"{found.agreement:.2f}"
    measured = (
        f"agreement with known good and bad reasoning {agreed} ({shares or 'no pair'}; mean score "
        f"{scores}), {found.num_abstained} of {found.num_asked} answers without a score, "
        f"{found.num_failed} requests failed"
    )
    if found.separates:
        return f"reward model {name} tells good reasoning from bad: {measured}"
    return (
        f"reward model {name} does not tell good reasoning from bad, the reward Thinking would "
        f"teach noise: {measured}; expected: agreement {LEAST_AGREEMENT:g} or more, at most "
        f"{MOST_ABSTAINED:.0%} without a score. See that the RewardModel serves the judge that you "
        "mean, that its promptTemplate has the words and its numFrames the images that the judge "
        "was trained with, and that it answers <answer>SCORE</answer>; or leave the reward out"
    )
