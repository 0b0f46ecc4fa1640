"""Intervals: by hand, by tables, and by how often they hold the truth."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_trainer.evaluation.intervals import (
    Interval,
    VideoSums,
    beta_quantile,
    beta_share,
    calibration_interval,
    effective_number,
    f1_interval,
    mean_interval,
    middle_interval,
    share_interval,
    student_t,
)


def videos(counts: Sequence[float], values: Sequence[float]) -> VideoSums:
    return VideoSums.of(np.array(counts, dtype=float), np.array(values, dtype=float))


def singles(right: int, number: int) -> VideoSums:
    return videos([1] * number, [1] * right + [0] * (number - right))


def bounds(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("right", "number", "low", "high"),
    [
        (96, 96, 0.025 ** (1 / 96), 1),  # 0.962
        (0, 96, 0, 1 - 0.025 ** (1 / 96)),
        (1, 2, 1 - math.sqrt(0.975), math.sqrt(0.975)),
        (7, 10, 0.3475, 0.9333),  # as in tables
        (12, 12, 0.025 ** (1 / 12), 1),
        (475, 500, 0.9271, 0.9674),
    ],
)
def test_one_clip_a_video_has_the_exact_interval(
    right: int, number: int, low: float, high: float
) -> None:
    assert bounds(share_interval(singles(right, number))) == pytest.approx((low, high), abs=5e-5)


def test_all_right_says_as_much_as_there_are_videos_not_clips() -> None:
    alike = videos([4] * 24, [4] * 24)
    assert effective_number(alike) == pytest.approx(24)
    assert bounds(share_interval(alike)) == pytest.approx((0.025 ** (1 / 24), 1))
    # Of 1 and 3 clips: 4 answers, (1 + 9) / 4 = 2.5 alike.
    assert effective_number(videos([1, 3], [1, 3])) == pytest.approx(4 / 2.5)


def test_the_effective_number_by_hand() -> None:
    # 20 answers of 10 videos, 13 right. Independent: 20 * 0.65 * 0.35 = 4.55. Between videos:
    # 5 * 0.7**2 + 3 * 0.3**2 + 2 * 1.3**2 = 6.1, of which 1.55 is no chance within videos; by
    # t(9) = 2.2622 and 10 / 9 that is widened to 2.2942.
    found = effective_number(videos([2] * 10, [2] * 5 + [1] * 3 + [0] * 2))
    assert found == pytest.approx(20 * (4.55 + 1) / (4.55 + 2.2942 + 2), rel=1e-4)
    # Widened it would be 4.95; no more than all clips of a video alike: 2 * 1.875.
    few = effective_number(videos([2] * 4, [2, 2, 1, 0]))
    assert few == pytest.approx(8 * (1.875 + 1) / (2 * 1.875 + 2))


def test_copies_of_a_clip_change_nothing() -> None:
    once, often = singles(5, 10), videos([9] * 10, [9] * 5 + [0] * 5)
    assert bounds(share_interval(often)) == pytest.approx(bounds(share_interval(once)))


def test_videos_without_answers_that_count_are_no_videos() -> None:
    padded = videos([1, 0, 1, 0], [1, 0, 0, 0])
    assert bounds(share_interval(padded)) == pytest.approx(bounds(share_interval(singles(1, 2))))
    alone = videos([5, 0], [3, 0])
    assert share_interval(alone) is mean_interval(alone) is f1_interval(alone) is None
    assert middle_interval(alone, singles(1, 2), shared_videos=False) is None


def test_values_that_vary_less_than_yes_and_no_have_a_narrower_interval() -> None:
    counts, errors = np.ones(50), np.linspace(0.1, 0.3, 50)
    real = share_interval(VideoSums.of(counts, errors, errors**2))
    low, high = bounds(real)
    wide_low, wide_high = bounds(share_interval(singles(10, 50)))
    assert low < errors.mean() < high
    assert high - low < (wide_high - wide_low) / 2


def test_f1_is_that_of_the_share_it_stands_for() -> None:
    # 3 hits, 2 others involved: J between 0.1466 and 0.9473 (exact, 3 of 5).
    low, high = bounds(f1_interval(singles(3, 5)))
    assert low == pytest.approx(2 * 0.14663 / 1.14663, abs=1e-4)
    assert high == pytest.approx(2 * 0.94726 / 1.94726, abs=1e-4)


def test_the_middle_of_two_shares_by_hand() -> None:
    all_right, distance = singles(48, 48), 1 - 0.025 ** (1 / 48)
    apart = middle_interval(all_right, all_right, shared_videos=False)
    assert bounds(apart) == pytest.approx((1 - distance * math.sqrt(2) / 2, 1))
    together = middle_interval(all_right, all_right, shared_videos=True)
    assert bounds(together) == pytest.approx((1 - distance, 1))


def test_a_mean_has_students_interval_and_is_not_negative() -> None:
    # Mean 20, standard error 10 / sqrt(3), t(2) = 4.3027.
    assert bounds(mean_interval(videos([1] * 3, [10, 20, 30]))) == pytest.approx(
        (0, 20 + 4.30265 * 10 / math.sqrt(3)), abs=1e-3
    )
    assert bounds(mean_interval(videos([2, 2], [18, 18]))) == (9, 9)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (2, 4.303), (9, 2.262), (30, 2.042), (1000, 1.962)]
)
def test_students_t_is_that_of_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize("x", [0.0, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0])
def test_the_incomplete_beta_is_that_of_closed_forms(x: float) -> None:
    assert beta_share(x, 5, 1) == pytest.approx(x**5, abs=1e-12)
    assert beta_share(x, 1, 0.5) == pytest.approx(1 - math.sqrt(1 - x), abs=1e-12)
    assert beta_share(x, 2, 2) == pytest.approx(3 * x**2 - 2 * x**3, abs=1e-12)
    at_least = sum(math.comb(40, k) * x**k * (1 - x) ** (40 - k) for k in range(31, 41))
    assert beta_share(x, 31, 10) == pytest.approx(at_least, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.3, 1e5), st.floats(0.3, 1e5))
def test_a_quantile_is_where_the_share_is(probability: float, a: float, b: float) -> None:
    x = beta_quantile(probability, a, b)
    assert beta_share(x, a, b) == pytest.approx(probability, abs=1e-6) or x in (
        pytest.approx(0, abs=1e-9),
        pytest.approx(1, abs=1e-9),
    )


clustered = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    min_size=2,
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(clustered)
def test_an_interval_holds_its_share_and_mirrors_that_of_the_opposite(
    drawn: list[tuple[int, int]],
) -> None:
    counts, right = [n for n, _ in drawn], [r for _, r in drawn]
    found = videos(counts, right)
    low, high = bounds(share_interval(found))
    assert 0 <= low <= found.mean <= high <= 1
    assert low < high, "no test set makes certain"
    wrong = [n - r for n, r in drawn]
    mirrored = bounds(share_interval(videos(counts, wrong)))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    assert 1 <= effective_number(found) + 1e-9


@pytest.mark.parametrize("number", [12, 24, 96])
@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.95, 0.99])
def test_independent_clips_are_covered_by_all_that_can_happen(number: int, accuracy: float) -> None:
    covered = 0.0
    for right in range(number + 1):
        chance = math.comb(number, right) * accuracy**right * (1 - accuracy) ** (number - right)
        low, high = bounds(share_interval(singles(right, number)))
        covered += chance * (low <= accuracy <= high)
    assert covered >= 0.95


@pytest.mark.parametrize(("number", "accuracy"), [(24, 0.8), (24, 0.95), (96, 0.99)])
def test_clips_of_a_video_that_are_alike_are_covered(number: int, accuracy: float) -> None:
    rng = np.random.default_rng(number)
    covered = 0
    for _ in range(120):
        counts = rng.integers(1, 7, number) * 1.0
        chance = rng.beta(accuracy, 1 - accuracy, number)  # correlation 0.5
        right = rng.binomial(counts.astype(int), chance) * 1.0
        low, high = bounds(share_interval(VideoSums.of(counts, right)))
        covered += low <= accuracy <= high
    assert covered / 120 >= 0.93


def calibrated(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Surplus by video and bin of a model that knows how sure it can be: its true error is 0."""
    probability = rng.uniform(0, 1, number)
    surplus = probability - (rng.uniform(0, 1, number) < probability)
    table = np.zeros((number, 10))
    table[np.arange(number), (probability * 10).astype(int)] = surplus
    return np.ones(number), table


def test_the_calibration_error_of_a_calibrated_model_may_be_zero() -> None:
    rng, covered = np.random.default_rng(0), 0
    for seed in range(40):
        counts, table = calibrated(rng, 60)
        assert abs(table.sum(axis=0)).sum() / 60 > 0.03, "what is found is far too large"
        low, high = bounds(calibration_interval(counts, table, samples=200, seed=seed))
        covered += low == 0
        assert high < 0.5
    assert covered / 40 >= 0.95


def test_a_calibration_error_that_is_there_is_above_zero() -> None:
    # Always certain, right four times of five: off by 0.2.
    table = np.zeros((200, 10))
    table[:, 9] = [1.0 if index % 5 == 0 else 0.0 for index in range(200)]
    low, high = bounds(calibration_interval(np.ones(200), table, samples=500, seed=0))
    assert 0.1 < low < 0.2 < high < 0.3


def test_no_error_at_all_does_not_make_certain() -> None:
    low, high = bounds(calibration_interval(np.ones(96), np.zeros((96, 10)), samples=500, seed=0))
    assert low == 0
    assert high == pytest.approx(3 / 97, abs=1e-6)  # the added video, drawn three times
    assert calibration_interval(np.array([3.0, 0]), np.zeros((2, 10)), samples=100, seed=0) is None
