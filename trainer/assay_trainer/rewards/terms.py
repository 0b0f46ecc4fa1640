"""The summands of the reward, built once for a stage."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from assay_trainer.rewards.outcome import (
    BatchRewardFunction,
    Outcome,
    RewardFunction,
    Sample,
    Score,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of the reward."""

    name: str
    weight: float
    function: BatchRewardFunction
    """Scores all rollouts of a step at once; `one_by_one` makes one of a function of a rollout."""
    is_right: Callable[[Score], bool] | None = None
    """Tells which scores are those of right answers, if this term decides it for the stage."""


def one_by_one(function: RewardFunction, *, num_workers: int = 1) -> BatchRewardFunction:
    """Return a function of a whole step out of one that scores a single rollout.

    Args:
        function: scores a rollout.
        num_workers: threads that call it at the same time.
    """

    def outcomes_of(samples: Sequence[Sample]) -> list[Outcome]:
        if num_workers == 1:
            return [function(prompt, rollout) for prompt, rollout in samples]
        with ThreadPoolExecutor(max_workers=num_workers) as pool:
            return list(pool.map(lambda sample: function(*sample), samples))

    return outcomes_of
