"""95 % intervals of numbers over clips, where clips of one video are not independent.

A share (accuracy, recall, ...) has the exact interval of Clopper and Pearson, on the effective
number of its answers instead of their number: how many independent answers would vary as much as
these do, in videos that are alike inside. It covers for few videos and near 0 and 1, where a
bootstrap by percentiles says 1.000 to 1.000 of 96 right answers. What each of these covers,
measured: docs/measurements/intervals.md.

Axes used in this file:
    video   source videos that have answers that count
    bin     bins of the calibration error
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Share of test sets whose interval holds the truth."""
_TAIL = (1 - LEVEL) / 2
_NORMAL = NormalDist().inv_cdf(1 - _TAIL)

_BLOCK_ENTRIES = 4_000_000
"""Draw counts held at once (resamples times videos): 32 MB."""
_MAX_TERMS = 100_000
"""Of a continued fraction; it needs about the root of the number of answers."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies in 95 of 100 test sets."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VideoSums:
    """Sums over each video's answers that count (axis: video); videos without any are left out."""

    counts: Floats
    """Answers that count."""
    values: Floats
    """Of their values."""
    squares: Floats
    """Of the squares of their values: for yes and no the same as `values`."""

    @classmethod
    def of(cls, counts: Floats, values: Floats, squares: Floats | None = None) -> "VideoSums":
        """Leave out videos without answers; values are 0 or 1 unless `squares` are given."""
        used = counts > 0
        return cls(counts[used], values[used], (values if squares is None else squares)[used])

    @property
    def mean(self) -> float:
        """Mean value of an answer."""
        return float(self.values.sum() / self.counts.sum())


def share_interval(sums: VideoSums) -> Interval | None:
    """Return the interval of the mean of values between 0 and 1; None with fewer than two videos.

    Source:
        Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data", Survey Methodology 24: the bounds of Clopper
        and Pearson with the effective number. How that number is found is `effective_number`'s.

    Example:
        >>> found = share_interval(VideoSums.of(np.ones(96), np.ones(96)))
        >>> round(found.low, 4), found.high  # 0.025 ** (1 / 96)
        (0.9623, 1.0)
    """
    if len(sums.counts) < 2:
        return None
    number = effective_number(sums)
    mean = min(max(sums.mean, 0.0), 1.0)
    return _exact(mean * number, number)


def effective_number(sums: VideoSums) -> float:
    """Return how many independent yes-or-no answers would tell as much about their mean.

    With one answer of yes or no a video it is their number. Else it is their number divided by the
    design effect: the variance of the mean between videos over that of independent answers. Few
    videos say little about that variance, so its part that is not chance within videos is widened
    by Student's t; and one more video is added whose answers are all alike: where all is right
    nothing is known of how alike the answers of a video are, and videos count, not answers.

    Args:
        sums: of values between 0 and 1, over at least two videos.
    """
    counts, total = sums.counts, float(sums.counts.sum())
    mean = sums.mean
    alike = float((counts**2).sum()) / total
    independent = total * mean * (1 - mean)
    within = max(float(sums.squares.sum()) - total * mean**2, 0.0)
    between = float(((sums.values - mean * counts) ** 2).sum())
    widened = within + _widened(max(between - within, 0.0), total / alike)
    most = max(between, alike * within)
    return total * (independent + 1) / (min(widened, most) + alike)


def _widened(variance: float, num_videos: float) -> float:
    """Return a variance between videos with what so few of them may have left unseen."""
    if variance == 0:
        return 0.0
    if num_videos <= 1:
        return math.inf
    return variance * (student_t(num_videos - 1) / _NORMAL) ** 2 * num_videos / (num_videos - 1)


def mean_interval(sums: VideoSums) -> Interval | None:
    """Return the interval of the mean of any values, by Student's t between videos.

    Args:
        sums: of values of at least 0.

    Returns:
        The interval; None with fewer than two videos, or with one that has all but all answers.
    """
    if len(sums.counts) < 2:
        return None
    total, mean = float(sums.counts.sum()), sums.mean
    num_videos = total**2 / float((sums.counts**2).sum())
    between = float(((sums.values - mean * sums.counts) ** 2).sum())
    margin = math.sqrt(_widened(between, num_videos)) * _NORMAL / total
    return Interval(max(mean - margin, 0.0), mean + margin) if math.isfinite(margin) else None


def f1_interval(sums: VideoSums) -> Interval | None:
    """Return the interval of F1, out of that of the share J it stands for: F1 = 2 J / (1 + J).

    Args:
        sums: of the true positives among the answers that are true positives, false positives or
            false negatives.
    """
    found = share_interval(sums)
    if found is None:
        return None
    return Interval(2 * found.low / (1 + found.low), 2 * found.high / (1 + found.high))


def middle_interval(one: VideoSums, other: VideoSums, *, shared_videos: bool) -> Interval | None:
    """Return the interval of the middle of two shares, out of the interval of each.

    Args:
        one: of the first share.
        other: of the second.
        shared_videos: whether a video counts in both: then they may err together.

    Source:
        Zou and Donner 2008, "Construction of confidence limits about effect measures", Statistics
        in Medicine 27 (MOVER). With shared videos the distances are added up instead.
    """
    pair = [share_interval(one), share_interval(other)]
    if pair[0] is None or pair[1] is None:
        return None
    means = [one.mean, other.mean]
    join = math.fsum if shared_videos else lambda distances: math.hypot(*distances)
    down = join([mean - found.low for mean, found in zip(means, pair, strict=True) if found])
    up = join([found.high - mean for mean, found in zip(means, pair, strict=True) if found])
    middle = sum(means) / 2
    return Interval(middle - down / 2, middle + up / 2)


def calibration_interval(
    counts: Floats, surplus: Floats, *, samples: int, seed: int
) -> Interval | None:
    """Return the interval of the expected calibration error; None with fewer than two videos.

    The error is a sum of sizes, so it is too large on average, by as much as its parts are off:
    resamples of the error itself would hardly ever be as small as the truth. What is resampled is
    how far the parts are off together, which bounds how far the sum is. One video more is drawn
    from, wrong with full certainty in a bin of its own, for what the test set did not show.

    Args:
        counts: answers with a probability, by video.
        surplus: probability of fake less truth (1 for fake), summed over each video's answers in
            each bin (axes: video, bin).
        samples: resamples of the videos.
        seed: of the resampling.
    """
    used = counts > 0
    counts, surplus = counts[used], surplus[used]
    if len(counts) < 2:
        return None
    gaps = surplus.sum(axis=0) / counts.sum()
    counts = np.append(counts, counts.mean())
    table = np.zeros((len(counts), len(gaps) + 1))
    table[:-1, :-1], table[-1, -1] = surplus, counts[-1]
    rng = np.random.default_rng(seed)
    shares = np.full(len(counts), 1 / len(counts))
    distances: list[Floats] = []
    for size in _block_sizes(samples, max(1, _BLOCK_ENTRIES // len(counts))):
        drawn = rng.multinomial(len(counts), shares, size=size)
        parts = drawn @ table / (drawn @ counts)[:, None]
        distances.append(np.abs(parts - np.append(gaps, 0.0)).sum(axis=1))
    error = float(np.abs(gaps).sum())
    distance = float(np.quantile(np.concatenate(distances), LEVEL))
    return Interval(max(error - distance, 0.0), min(error + distance, 1.0))


def _block_sizes(total: int, block: int) -> list[int]:
    return [min(block, total - start) for start in range(0, total, block)]


def _exact(right: float, number: float) -> Interval:
    """Return Clopper's and Pearson's interval of `right` of `number`, which may be broken."""
    wrong = number - right
    low = beta_quantile(_TAIL, right, wrong + 1) if right > _NONE else 0.0
    high = beta_quantile(1 - _TAIL, right + 1, wrong) if wrong > _NONE else 1.0
    return Interval(low, high)


_NONE = 1e-9
"""Answers: less is rounding."""


def student_t(degrees: float) -> float:
    """Return the 97.5 % quantile of Student's t.

    Example:
        >>> round(student_t(11), 3)
        2.201
    """
    share = beta_quantile(1 - LEVEL, degrees / 2, 0.5)
    return math.sqrt(degrees * (1 / share - 1)) if share > 0 else math.inf


@lru_cache(maxsize=4096)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return where the beta distribution has reached a probability, to 12 digits.

    Example:
        >>> round(beta_quantile(0.025, 96, 1), 4)
        0.9623
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_share(middle, a, b) < probability else (low, middle)
    return (low + high) / 2


def beta_share(x: float, a: float, b: float) -> float:
    """Return the beta distribution's probability of at most x: the regularised incomplete beta.

    Source:
        DLMF 8.17.22, the continued fraction, on the side where it converges fast. SciPy, which has
        it, would be needed for nothing else.

    Raises:
        ArithmeticError: the fraction did not converge.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz: the fraction as a product of ratios of successive numerators and denominators.
    value, numerator, denominator = 1.0, 1.0, 0.0
    for term in range(_MAX_TERMS):
        m = term // 2
        if term == 0:
            factor = 1.0
        elif term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / (1 + factor * denominator)
        numerator = 1 + factor / numerator
        value *= numerator * denominator
        if term and abs(numerator * denominator - 1) < 1e-14:
            return front * (value - 1)
    raise ArithmeticError(f"the incomplete beta of {x}, {a}, {b} did not converge")
