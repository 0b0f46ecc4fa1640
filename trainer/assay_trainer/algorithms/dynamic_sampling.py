"""Dynamic sampling: which groups teach something, and how many more prompts to draw for them.

A group that is all right or all wrong has nothing to prefer. It is told by correctness, not by the
reward: a length penalty makes the rewards of an all-wrong group differ too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from assay_trainer.records import ScoredGroup


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Counts of the groups that were sampled for a batch. Counts of several rounds add up."""

    num_mixed: int = 0
    """Groups with right and wrong answers: the ones that are kept."""
    num_all_right: int = 0
    num_all_wrong: int = 0
    num_failed: int = 0
    """Groups without rewards, because a reward failed."""

    @property
    def num_sampled(self) -> int:
        """All groups."""
        return self.num_mixed + self.num_all_right + self.num_all_wrong + self.num_failed

    @property
    def rate(self) -> float:
        """Share of the sampled groups that is kept; 0 when there are none."""
        return self.num_mixed / max(self.num_sampled, 1)

    def __add__(self, other: "Acceptance") -> "Acceptance":
        """Return the counts of both together."""
        return Acceptance(
            self.num_mixed + other.num_mixed,
            self.num_all_right + other.num_all_right,
            self.num_all_wrong + other.num_all_wrong,
            self.num_failed + other.num_failed,
        )


def is_mixed(group: ScoredGroup) -> bool:
    """Tell whether the group has both right and wrong answers."""
    return any(group.correct) and not all(group.correct)


def keep_mixed(groups: Sequence[ScoredGroup]) -> tuple[ScoredGroup, ...]:
    """Return the groups that have both right and wrong answers, in order."""
    return tuple(group for group in groups if is_mixed(group))


def keep_ranked(groups: Sequence[ScoredGroup]) -> tuple[ScoredGroup, ...]:
    """Return the groups that have something to prefer, right or wrong, in order."""
    return tuple(group for group in groups if any(group.advantages))


def count_acceptance(groups: Sequence[ScoredGroup], num_failed: int = 0) -> Acceptance:
    """Return how many groups of a round are mixed, all right, all wrong, or failed."""
    num_mixed = len(keep_mixed(groups))
    num_all_right = sum(all(group.correct) for group in groups)
    return Acceptance(
        num_mixed=num_mixed,
        num_all_right=num_all_right,
        num_all_wrong=len(groups) - num_mixed - num_all_right,
        num_failed=num_failed,
    )


def prompts_to_draw(
    so_far: Acceptance, *, num_wanted: int, num_rounds: int, max_rounds: int
) -> int:
    """Return how many prompts the next round should draw; 0 to go on with what there is.

    The first round draws as many as are wanted. Later ones draw what is missing, divided by the
    acceptance seen so far, but never more than the first: what a step can cost is
    ``max_rounds * num_wanted`` prompts, and after the last round a step goes on with the groups
    that were found, be they few or none.

    Args:
        so_far: counts of all rounds of this batch.
        num_wanted: groups in a full batch.
        num_rounds: rounds that were sampled for this batch.
        max_rounds: rounds that may be.

    Example:
        >>> half = Acceptance(num_mixed=16, num_all_wrong=16)
        >>> prompts_to_draw(half, num_wanted=32, num_rounds=1, max_rounds=3)
        32
        >>> prompts_to_draw(half, num_wanted=20, num_rounds=1, max_rounds=3)
        8
        >>> prompts_to_draw(half, num_wanted=20, num_rounds=3, max_rounds=3)
        0
    """
    num_missing = num_wanted - so_far.num_mixed
    if num_missing <= 0 or num_rounds >= max_rounds:
        return 0
    if so_far.num_mixed == 0:
        return num_wanted
    num_needed = math.ceil(Fraction(num_missing * so_far.num_sampled, so_far.num_mixed))
    return min(num_needed, num_wanted)
