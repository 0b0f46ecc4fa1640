"""RL stages with played engines: what is sampled, group by group, is given."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from played_engines import (
    PlayedJudge,
    PlayedLearner,
    PlayedPool,
    PlayedVerifier,
    played_parts,
    said,
)

from assay_api import ResolvedStageJob
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.metrics_log import read_metrics
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

Answer = Callable[[ClipRequest], Sample]
"""A completion, whose text depends on the label of the clip."""


def is_fake(request: ClipRequest) -> bool:
    return "fake" in request.row_id


def right(*token_ids: int, thinking: str = "hm", truncated: bool = False) -> Answer:
    """A well-formed answer that is right."""
    return lambda request: said(
        f"<think>{thinking}</think><answer>{'AB'[is_fake(request)]}</answer>",
        token_ids=token_ids,
        truncated=truncated,
    )


def wrong(*token_ids: int, thinking: str = "hm", truncated: bool = False) -> Answer:
    """A well-formed answer that is wrong."""
    return lambda request: said(
        f"<think>{thinking}</think><answer>{'BA'[is_fake(request)]}</answer>",
        token_ids=token_ids,
        truncated=truncated,
    )


def ill_formed(*token_ids: int, truncated: bool = False) -> Answer:
    """An answer without the tags."""
    return lambda request: said("hm", token_ids=token_ids, truncated=truncated)


class GroupsInTurn:
    """A script: the groups of rollouts that are sampled one after another, whatever is asked.

    Canary and validation, which want one completion of a prompt, get `alone`.
    """

    def __init__(self, *groups: Sequence[Answer], alone: Answer | None = None) -> None:
        self._groups: Iterator[Sequence[Answer]] = iter(groups)
        self._alone = alone or right(1)

    def __call__(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        answers = [self._alone] if plan.num_samples == 1 else next(self._groups, None)
        if answers is None:
            raise LookupError("no group is left")
        return [answer(request) for answer in answers]


@dataclass(frozen=True)
class Played:
    """A stage that was played."""

    finished: bool
    pool: PlayedPool
    learner: PlayedLearner
    parts: StageParts

    @property
    def sampled(self) -> list[tuple[tuple[ClipRequest, ...], SamplingPlan]]:
        """What was asked to learn from, round by round."""
        return [(requests, plan) for requests, plan in self.pool.asked if plan.temperature > 0]

    @property
    def validated(self) -> list[tuple[tuple[ClipRequest, ...], SamplingPlan]]:
        """What was asked greedily, validation by validation."""
        return [(requests, plan) for requests, plan in self.pool.asked if plan.temperature == 0]

    def metrics(self, step: int) -> dict[str, float]:
        """What was recorded of a step, but for step and times."""
        recorded = read_metrics(self.parts.store)[step]
        return {n: v for n, v in recorded.items() if not n.startswith("time/") and n != "step"}


def play_stage(
    job: ResolvedStageJob,
    pool: PlayedPool,
    learner: PlayedLearner | None = None,
    judges: Mapping[str, PlayedJudge] | None = None,
    verifier: PlayedVerifier | None = None,
) -> Played:
    """Run the loop of a lone learner process as its stage sets it up."""
    learner = learner or PlayedLearner()
    parts = played_parts(job, learner)
    finished = rl_loop(parts, pool, judges or {}, verifier).run()
    return Played(finished, pool, learner, parts)
