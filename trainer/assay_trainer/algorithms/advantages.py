"""Advantages of rollouts, relative to the other rollouts of their group."""

from collections.abc import Sequence
from statistics import fmean, stdev


def group_advantages(rewards: Sequence[float], *, std_floor: float) -> tuple[float, ...]:
    """Return how much better than its group each rollout is, in standard deviations.

    A group whose rewards are all equal, a group of one among them, says nothing about which
    rollout is better: its advantages are exactly zero.

    Args:
        rewards: of the rollouts of one group.
        std_floor: least standard deviation to divide by. Rewards that differ by rounding only
            would otherwise be blown up to full advantages.

    Returns:
        One advantage per rollout, in the same order.

    Raises:
        ValueError: `std_floor` is not positive.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1, equation 9, with the unbiased standard
        deviation (divided by n - 1), as in TRL and verl. They add a small number to it; here it
        has a floor. A group of one gets its whole reward in verl, and zero here.

    Example:
        >>> group_advantages([1.0, 0.0, 2.0], std_floor=1e-3)
        (0.0, -1.0, 1.0)
        >>> group_advantages([0.1, 0.1, 0.1], std_floor=1e-3)
        (0.0, 0.0, 0.0)
    """
    if not std_floor > 0:
        raise ValueError(f"std_floor must be positive, got {std_floor}")
    if len(set(rewards)) <= 1:
        return (0.0,) * len(rewards)
    mean = fmean(rewards)
    scale = max(stdev(rewards), std_floor)
    return tuple((reward - mean) / scale for reward in rewards)
