import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_trainer.algorithms.advantages import group_advantages

# Rewards as they come: eighths, so that shifting and scaling are exact.
rewards_of_groups = st.lists(st.integers(-24, 24).map(lambda n: n / 8), min_size=2, max_size=16)


def test_hand_computed_with_the_unbiased_deviation() -> None:
    # mean 0.25, squared deviations 3/4, divided by 3: standard deviation 1/2
    assert group_advantages([1.0, 0.0, 0.0, 0.0], std_floor=1e-3) == (1.5, -0.5, -0.5, -0.5)


@pytest.mark.parametrize("rewards", [[], [0.7], [0.1] * 6, [-1.0] * 8])
def test_rewards_without_difference_give_exact_zeros(rewards: list[float]) -> None:
    assert group_advantages(rewards, std_floor=1e-3) == (0.0,) * len(rewards)


def test_differences_below_the_floor_are_not_blown_up() -> None:
    low, high = group_advantages([0.5, 0.5 + 1e-9], std_floor=1e-3)
    assert high == pytest.approx(0.5e-6, rel=1e-3)
    assert low == pytest.approx(-high)


@pytest.mark.parametrize("floor", [0.0, -1.0, math.nan])
def test_a_floor_that_is_none_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="std_floor must be positive"):
        group_advantages([0.0, 1.0], std_floor=floor)


@given(rewards_of_groups)
def test_they_are_centred_with_unit_deviation_and_keep_the_order(rewards: list[float]) -> None:
    advantages = group_advantages(rewards, std_floor=1e-3)
    assert sum(advantages) == pytest.approx(0, abs=1e-9)
    if len(set(rewards)) > 1:
        assert sum(a * a for a in advantages) == pytest.approx(len(rewards) - 1)
    assert [a for _, a in sorted(zip(rewards, advantages, strict=True))] == sorted(advantages)


@given(rewards_of_groups, st.integers(-40, 40), st.sampled_from([0.5, 2.0, 4.0]))
def test_neither_a_shift_nor_a_unit_changes_them(
    rewards: list[float], shift: int, unit: float
) -> None:
    moved = [unit * reward + shift for reward in rewards]
    assert group_advantages(moved, std_floor=1e-3) == pytest.approx(
        group_advantages(rewards, std_floor=1e-3), abs=1e-9
    )


@pytest.mark.parametrize(
    "rewards",
    [[0.3, 0.1 + 0.2], [1e6, 1e6 * (1 + 1e-12), 1e6], [0.0, 1e-12, -1e-12], [0.7 + 0.1, 0.8, 0.8]],
)
def test_rewards_that_differ_by_rounding_only_are_a_tie(rewards: list[float]) -> None:
    assert not any(group_advantages(rewards, std_floor=1e-12))
    mixed = group_advantages([*rewards, rewards[0] + 1], std_floor=1e-3)
    assert len(set(mixed[:-1])) == 1 and mixed[-1] > 0 > mixed[0]


def test_rewards_that_differ_by_more_are_none() -> None:
    low, high = group_advantages([0.5, 0.5001], std_floor=1e-9)
    assert (low, high) == pytest.approx((-math.sqrt(0.5), math.sqrt(0.5)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_finite_number_is_never_compared(value: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        group_advantages([0.0, value, 1.0], std_floor=1e-3)
