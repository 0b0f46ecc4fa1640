"""Dynamic sampling: which groups a batch is filled with, and how many more prompts to draw for it.

A group whose rewards are all equal is a tie: it has nothing to prefer. By correctness, a group that
is all right or all wrong is left out too: a length penalty makes the rewards of an all-wrong group
differ. Each thinking mode has a quota of the batch of its own, so that a mode whose groups are
mostly ties is sampled more often instead of vanishing from what is learned.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from assay_api import ThinkingMode
from assay_api.stage import GroupFilter
from assay_trainer.records import ScoredGroup


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Counts of the groups that were sampled for a batch. Counts add up."""

    num_usable: int = 0
    """Groups that the filter keeps."""
    num_all_right: int = 0
    """Groups that it does not, and all of whose answers are right."""
    num_all_wrong: int = 0
    num_tied: int = 0
    """Groups with right and wrong answers, and equal rewards all the same."""
    num_failed: int = 0
    """Groups without rewards, because a reward failed."""

    @property
    def num_sampled(self) -> int:
        """All groups."""
        left_out = self.num_all_right + self.num_all_wrong + self.num_tied + self.num_failed
        return self.num_usable + left_out

    @property
    def rate(self) -> float:
        """Share of the sampled groups that is usable; 0 when there are none."""
        return self.num_usable / max(self.num_sampled, 1)

    def __add__(self, other: "Acceptance") -> "Acceptance":
        """Return the counts of both together."""
        return Acceptance(
            self.num_usable + other.num_usable,
            self.num_all_right + other.num_all_right,
            self.num_all_wrong + other.num_all_wrong,
            self.num_tied + other.num_tied,
            self.num_failed + other.num_failed,
        )


def is_tie(group: ScoredGroup) -> bool:
    """Tell whether no token of the group has an advantage: its gradient is exactly zero."""
    return not any(map(any, group.by_token or (group.advantages,)))


def is_usable(group: ScoredGroup, by: GroupFilter) -> bool:
    """Tell whether the filter keeps the group: no tie and, by correctness, right and wrong."""
    if is_tie(group):
        return False
    return by is GroupFilter.REWARD or (any(group.correct) and not all(group.correct))


def count_acceptance(
    groups: Sequence[ScoredGroup], by: GroupFilter, num_failed: int = 0
) -> Acceptance:
    """Return how many of the groups are usable, and what the others are."""
    left_out = [group for group in groups if not is_usable(group, by)]
    num_all_right = sum(all(group.correct) for group in left_out)
    num_all_wrong = sum(not any(group.correct) for group in left_out)
    return Acceptance(
        num_usable=len(groups) - len(left_out),
        num_all_right=num_all_right,
        num_all_wrong=num_all_wrong,
        num_tied=len(left_out) - num_all_right - num_all_wrong,
        num_failed=num_failed,
    )


def modes_in_turn(modes: Sequence[ThinkingMode], start: int, count: int) -> list[ThinkingMode]:
    """Return `count` modes of the endless repetition of `modes`, from the place `start` on.

    Example:
        >>> think, no_think = ThinkingMode.THINK, ThinkingMode.NO_THINK
        >>> [mode.value for mode in modes_in_turn((think, think, no_think), start=4, count=3)]
        ['Think', 'NoThink', 'Think']
    """
    return [modes[place % len(modes)] for place in range(start, start + count)]


def modes_of_next_round(
    quotas: Mapping[ThinkingMode, int],
    so_far: Mapping[ThinkingMode, Acceptance],
    *,
    num_rounds: int,
    max_rounds: int,
) -> list[ThinkingMode]:
    """Return the mode of each prompt of the next round; none to go on with what there is.

    Each mode is filled by itself: one that lacks groups is never made up for by another.

    Args:
        quotas: groups of a full batch, by mode.
        so_far: counts of all rounds of this batch, by mode.
        num_rounds: rounds that were sampled for this batch.
        max_rounds: rounds that may be.
    """
    return [
        mode
        for mode, quota in quotas.items()
        for _ in range(
            prompts_to_draw(
                so_far[mode], num_wanted=quota, num_rounds=num_rounds, max_rounds=max_rounds
            )
        )
    ]


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
        >>> half = Acceptance(num_usable=16, num_all_wrong=16)
        >>> prompts_to_draw(half, num_wanted=32, num_rounds=1, max_rounds=3)
        32
        >>> prompts_to_draw(half, num_wanted=20, num_rounds=1, max_rounds=3)
        8
        >>> prompts_to_draw(half, num_wanted=20, num_rounds=3, max_rounds=3)
        0
    """
    num_missing = num_wanted - so_far.num_usable
    if num_missing <= 0 or num_rounds >= max_rounds:
        return 0
    if so_far.num_usable == 0:
        return num_wanted
    num_needed = math.ceil(Fraction(num_missing * so_far.num_sampled, so_far.num_usable))
    return min(num_needed, num_wanted)


def usable_within(
    groups: Sequence[ScoredGroup], by: GroupFilter, quotas: Mapping[ThinkingMode, int]
) -> tuple[ScoredGroup, ...]:
    """Return the first usable groups of each mode, at most its quota, in order."""
    left = Counter(quotas)
    kept: list[ScoredGroup] = []
    for group in groups:
        mode = group.group.prompt.mode
        if left[mode] > 0 and is_usable(group, by):
            left[mode] -= 1
            kept.append(group)
    return tuple(kept)


def num_batch_tokens(batch: Sequence[ScoredGroup]) -> int:
    """Return what the loss of the batch is divided by: all its sampled tokens, those of ties too.

    With dynamic sampling there are no ties in a batch: they were replaced. Without, they are part
    of it, and a batch half of ties takes half the step.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1, equation 8: 1 / sum of |o_i| over the outputs of
        the batch, under the condition that 0 < correct outputs < G. verl divides by the tokens of
        the filtered batch, TRL, which filters nothing, by those of the whole one.
    """
    return sum(len(rollout.token_ids) for group in batch for rollout in group.group.rollouts)
