"""Collecting rollout groups: sample, then score."""

from collections.abc import Sequence

from assay_api import EngineError
from assay_api.stage import Rl
from assay_data.dataset.order import derived_seed
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.loops.factual_scoring import FactualScoring
from assay_trainer.loops.recorder import Clock
from assay_trainer.records import PromptItem, RolloutGroup
from assay_trainer.rewards.scoring import Scored, score_groups
from assay_trainer.rewards.terms import Term
from assay_trainer.rollout.sampler import ClipRequest, SamplerPool, SamplingPlan

_MAX_SCORING_TRIES = 3
"""Times that a group whose reward failed is scored, before the step goes on without it."""


class Collector:
    """Samples groups from a pool and scores them."""

    def __init__(
        self,
        pool: SamplerPool,
        rl: Rl,
        terms: Sequence[Term],
        answers: AnswerRule,
        seed: int,
        *,
        factual: FactualScoring | None = None,
    ) -> None:
        """Use these samplers, these terms of the reward, and this rule of right answers.

        `factual` checks the reasoning, where the stage says so.
        """
        self._pool, self._rl, self._terms, self._seed = pool, rl, terms, seed
        self._answers, self._factual = answers, factual
        self._plan = SamplingPlan(rl.group_size, rl.max_completion_tokens, rl.temperature)

    def collect(self, prompts: Sequence[PromptItem], cursor: int, clock: Clock) -> Scored:
        """Return the scored groups of the prompts, which stand at `cursor` in their stream."""
        with clock.phase("rollout"):
            groups = self._sample(prompts, cursor)
        with clock.phase("score"):
            return self._score(groups)

    def _sample(self, prompts: Sequence[PromptItem], cursor: int) -> list[RolloutGroup]:
        requests = [
            ClipRequest(
                prompt.text,
                prompt.row_id,
                derived_seed(self._seed, "rollout", place),
                prompt.shows,
            )
            for place, prompt in enumerate(prompts, start=cursor)
        ]
        answers = self._pool.sample(requests, self._plan)
        return [
            RolloutGroup(prompt, tuple(sample.rollout for sample in samples))
            for prompt, samples in zip(prompts, answers, strict=True)
        ]

    def _score(self, groups: Sequence[RolloutGroup]) -> Scored:
        """Score groups; those whose reward failed are tried again, then left out and counted."""
        order = {id(group): index for index, group in enumerate(groups)}
        done = self._score_once(groups)
        for _ in range(_MAX_SCORING_TRIES - 1):
            if not done.failures:
                break
            again = self._score_once([dropped.group for dropped in done.failures])
            merged = sorted(done.groups + again.groups, key=lambda one: order[id(one.group)])
            done = Scored(tuple(merged), again.failures, done.abstentions + again.abstentions)
        if groups and not done.groups:
            raise EngineError(
                f"no rollout group of this step could be scored: {done.failures[0].reason}; "
                "the last checkpoint is kept: the same command goes on from it"
            )
        return done

    def _score_once(self, groups: Sequence[RolloutGroup]) -> Scored:
        if self._factual is None:
            return self._score_by(groups)
        return self._factual.score(groups, self._score_by)

    def _score_by(self, groups: Sequence[RolloutGroup], more: Sequence[Term] = ()) -> Scored:
        return score_groups(
            groups,
            (*self._terms, *more),
            std_floor=self._rl.group_std_floor,
            is_correct=self._answers.is_correct,
        )
