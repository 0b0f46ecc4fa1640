"""Advantages of rollouts, relative to the other rollouts of their group."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

_ROUNDING = 1e-10
"""Rewards no further apart, or relative to their size, differ by how their terms were added."""


def tied(rewards: Sequence[float]) -> tuple[float, ...]:
    """Return the rewards with those that differ by rounding only made equal, in the same order.

    Raises:
        ValueError: one is not finite.

    Example:
        >>> tied([0.1 + 0.2, 1.0, 0.3])
        (0.3, 1.0, 0.3)
    """
    if not all(math.isfinite(reward) for reward in rewards):
        raise ValueError(f"rewards must be finite, got {list(rewards)}")
    equal: dict[float, float] = {}
    least = -math.inf
    for reward in sorted(rewards):
        if not math.isclose(reward, least, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            least = reward
        equal[reward] = least
    return tuple(equal[reward] for reward in rewards)


def group_advantages(rewards: Sequence[float], *, std_floor: float | None) -> tuple[float, ...]:
    """Return how much better than its group each rollout is, in standard deviations.

    A group whose rewards are all equal, a group of one among them, says nothing about which
    rollout is better: its advantages are exactly zero.

    Args:
        rewards: of the rollouts of one group.
        std_floor: least standard deviation to divide by: rewards that hardly differ are not
            blown up to full advantages. None: they are not divided, as in Dr. GRPO.

    Returns:
        One advantage per rollout, in the same order.

    Raises:
        ValueError: `std_floor` is not positive, or a reward is not finite.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1, equation 9, with the unbiased standard
        deviation (divided by n - 1), as in TRL and verl. They add a small number to it; here it
        has a floor. A group of one gets its whole reward in verl, and zero here.

    Example:
        >>> group_advantages([1.0, 0.0, 2.0], std_floor=1e-3)
        (0.0, -1.0, 1.0)
        >>> group_advantages([0.1, 0.1, 0.1], std_floor=1e-3)
        (0.0, 0.0, 0.0)
        >>> group_advantages([0.3, 0.1 + 0.2], std_floor=1e-3)
        (0.0, 0.0)
    """
    if std_floor is not None and not std_floor > 0:
        raise ValueError(f"std_floor must be positive, got {std_floor}")
    rewards = tied(rewards)
    if len(set(rewards)) <= 1:
        return (0.0,) * len(rewards)
    mean = fmean(rewards)
    scale = 1.0 if std_floor is None else max(stdev(rewards), std_floor)
    return tuple((reward - mean) / scale for reward in rewards)


def batch_std(rewards: Sequence[float], *, std_floor: float) -> float:
    """Return the standard deviation of all rewards of a batch, at least `std_floor`.

    Source:
        TRL's `scale_rewards="batch"`; the unbiased one, as there.

    Example:
        >>> batch_std([1.0, 0.0, 2.0], std_floor=1e-3)
        1.0
    """
    return max(stdev(rewards), std_floor) if len(rewards) > 1 else std_floor
