"""How often intervals hold the truth: `python benchmarks/intervals.py`.

Test sets are drawn whose truth is known: videos whose clips are right or wrong together to some
degree. The intervals of an evaluation are compared with the percentiles of resampled videos, and
with Wilson's interval, which takes every clip as independent.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.random import Generator

from assay_trainer.evaluation.intervals import (
    Floats,
    Interval,
    VideoSums,
    calibration_interval,
    f1_interval,
    mean_interval,
    middle_interval,
    share_interval,
)
from assay_trainer.evaluation.metrics import NUM_CALIBRATION_BINS

Sums = Mapping[str, Floats]
"""Per quantity its sum over each video's clips (axis: video), or one number: the total."""

ACCURACIES = (0.5, 0.8, 0.95, 0.99)
VIDEOS = (12, 24, 96, 500)
LEAST_COVERAGE = 0.93
"""Of a share, with what is left to chance by a thousand test sets."""
LEAST_OF_OTHERS = 0.90
"""Of numbers that are no share, with as few as 12 videos."""
_NORMAL = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Clips:
    """How many clips the videos have, and how alike the answers of one are."""

    name: str
    sizes: Callable[[Generator, int], Floats]
    alike: float
    """Correlation of two answers about one video, between 0 and 1."""


CLIPS = (
    Clips("1 clip", lambda rng, n: np.ones(n), 0.0),
    Clips("4 clips, correlation 0.3", lambda rng, n: np.full(n, 4.0), 0.3),
    Clips("4 clips, correlation 0.8", lambda rng, n: np.full(n, 4.0), 0.8),
    Clips("1 to 8 clips, correlation 0.5", lambda rng, n: rng.integers(1, 9, n) * 1.0, 0.5),
)


@dataclass(slots=True)
class Covered:
    """What the intervals of one method did over many test sets."""

    held: int = 0
    num: int = 0
    width: float = 0.0

    def add(self, interval: Interval | None, truth: float) -> None:
        """Count an interval; None holds nothing and is left out."""
        if interval is None:
            return
        self.num += 1
        self.held += interval.low - 1e-12 <= truth <= interval.high + 1e-12
        self.width += interval.high - interval.low

    @property
    def coverage(self) -> float:
        """Share of intervals that hold the truth."""
        return self.held / max(self.num, 1)

    def __str__(self) -> str:
        """Return coverage and mean width."""
        return f"{self.coverage:.3f} ({self.width / max(self.num, 1):.3f})"


@dataclass(frozen=True, slots=True)
class Row:
    """What the methods cover of one number."""

    name: str
    num_videos: int
    ours: Covered
    resampled: Covered
    independent: Covered | None = None


def wilson(right: float, number: float) -> Interval:
    """Return Wilson's interval of `right` of `number` independent answers."""
    share, square = right / number, _NORMAL**2
    middle = (share + square / (2 * number)) / (1 + square / number)
    spread = math.sqrt(share * (1 - share) / number + square / (4 * number**2))
    margin = _NORMAL * spread / (1 + square / number)
    return Interval(middle - margin, middle + margin)


def percentiles(
    sums: Sums, numbers: Callable[[Sums], Sums], rng: Generator, samples: int
) -> dict[str, Interval]:
    """Return the percentiles of resampled videos: what evaluations used to say."""
    table = np.stack(list(sums.values()), axis=1)
    num_videos = len(table)
    drawn = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=samples)
    found = numbers(dict(zip(sums, (drawn @ table).T, strict=True)))
    intervals = {}
    for name, values in found.items():
        defined = values[~np.isnan(values)]
        if defined.size:
            low, high = np.percentile(defined, [2.5, 97.5])
            intervals[name] = Interval(float(low), float(high))
    return intervals


def shares(clips: Clips, accuracy: float, num_videos: int, options: argparse.Namespace) -> Row:
    """Return what each method covers of an accuracy."""
    rng = np.random.default_rng([options.seed, num_videos, int(1000 * accuracy)])
    ours, resampled, independent = Covered(), Covered(), Covered()
    for _ in range(options.sets):
        counts = clips.sizes(rng, num_videos)
        chance = np.full(num_videos, accuracy)
        if clips.alike:
            spread = 1 / clips.alike - 1
            chance = rng.beta(accuracy * spread, (1 - accuracy) * spread, num_videos)
        right = rng.binomial(counts.astype(int), chance) * 1.0
        ours.add(share_interval(VideoSums.of(counts, right)), accuracy)
        found = percentiles(
            {"right": right, "all": counts},
            lambda totals: {"accuracy": totals["right"] / totals["all"]},
            rng,
            options.samples,
        )
        resampled.add(found["accuracy"], accuracy)
        independent.add(wilson(right.sum(), counts.sum()), accuracy)
    return Row(f"{clips.name} | {accuracy}", num_videos, ours, resampled, independent)


def detector(rng: Generator, num_videos: int, distance: float) -> Sums:
    """Return the sums of a detector that is sure of itself, about 1 to 4 clips a video.

    Videos are fake and real in turn. A clip's evidence is its class's, at `distance` from zero,
    plus what is the video's and what is the clip's own.
    """
    video = np.repeat(np.arange(num_videos), rng.integers(1, 5, num_videos))
    fake = video % 2 == 0
    evidence = np.where(fake, distance, -distance)
    evidence = (
        evidence + rng.normal(size=num_videos)[video] * 0.8 + rng.normal(size=len(video)) * 0.6
    )
    called = evidence > 0
    probability = 1 / (1 + np.exp(-3 * evidence))
    surplus = probability - fake
    bins = np.minimum(probability * NUM_CALIBRATION_BINS, NUM_CALIBRATION_BINS - 1).astype(int)
    tokens = np.exp(
        5 + 0.4 * rng.normal(size=num_videos)[video] + 0.3 * rng.normal(size=len(video))
    )
    columns = {
        "all": np.ones(len(video)),
        "fakes": fake,
        "reals": ~fake,
        "called": called,
        "hits": called & fake,
        "right_reals": ~called & ~fake,
        "errors": surplus**2,
        "squares": surplus**4,
        "tokens": tokens,
        **{
            f"surplus/{index}": np.where(bins == index, surplus, 0.0)
            for index in range(NUM_CALIBRATION_BINS)
        },
    }
    return {name: np.bincount(video, weights=column) for name, column in columns.items()}


def numbers(totals: Sums) -> dict[str, Floats]:
    """Return what an evaluation says, from totals."""
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = totals["hits"] / totals["fakes"]
        gaps = [np.abs(totals[f"surplus/{index}"]) for index in range(NUM_CALIBRATION_BINS)]
        return {
            "precision": totals["hits"] / totals["called"],
            "recall": recall,
            "F1": 2 * totals["hits"] / (totals["fakes"] + totals["called"]),
            "ACC_g": (recall + totals["right_reals"] / totals["reals"]) / 2,
            "Brier score": totals["errors"] / totals["all"],
            "calibration error": np.sum(gaps, axis=0) / totals["all"],
            "mean length, of its truth": totals["tokens"] / totals["all"],
        }


def intervals(sums: Sums, samples: int, seed: int) -> dict[str, Interval | None]:
    """Return the intervals of an evaluation."""
    hits, involved = sums["hits"], sums["fakes"] + sums["called"]
    recall = VideoSums.of(sums["fakes"], hits)
    called = VideoSums.of(sums["called"], hits)
    surplus = np.stack([sums[f"surplus/{index}"] for index in range(NUM_CALIBRATION_BINS)], axis=1)
    return {
        "precision": share_interval(called),
        "recall": share_interval(recall),
        "F1": f1_interval(VideoSums.of(involved - hits, hits)),
        "ACC_g": middle_interval(
            VideoSums.of(sums["reals"], sums["right_reals"]), recall, shared_videos=False
        ),
        "Brier score": share_interval(VideoSums.of(sums["all"], sums["errors"], sums["squares"])),
        "calibration error": calibration_interval(sums["all"], surplus, samples=samples, seed=seed),
        "mean length, of its truth": mean_interval(VideoSums.of(sums["all"], sums["tokens"])),
    }


def others(accuracy: float, num_videos: int, options: argparse.Namespace) -> list[Row]:
    """Return what both methods cover of the other numbers of a detector."""
    distance = NormalDist().inv_cdf(accuracy)
    large = detector(np.random.default_rng(options.seed), 400_000, distance)
    truth = {k: float(v) for k, v in numbers({k: v.sum() for k, v in large.items()}).items()}
    rng = np.random.default_rng([options.seed, num_videos, int(1000 * accuracy)])
    ours = {name: Covered() for name in truth}
    resampled = {name: Covered() for name in truth}
    for index in range(options.sets):
        sums = detector(rng, num_videos, distance)
        for name, found in intervals(sums, options.samples, index).items():
            ours[name].add(_of(found, name, truth), _scaled(name, truth))
        for name, old in percentiles(sums, numbers, rng, options.samples).items():
            resampled[name].add(_of(old, name, truth), _scaled(name, truth))
    return [Row(f"{n} | {truth[n]:.3f}", num_videos, ours[n], resampled[n]) for n in truth]


def _scaled(name: str, truth: Mapping[str, float]) -> float:
    return 1.0 if name.startswith("mean length") else truth[name]


def _of(found: Interval | None, name: str, truth: Mapping[str, float]) -> Interval | None:
    """Return an interval of a length as a share of the true one."""
    if found is None or not name.startswith("mean length"):
        return found
    return Interval(found.low / truth[name], found.high / truth[name])


def main() -> int:
    """Print what is covered; return 1 if an interval of ours holds the truth too seldom."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000, help="test sets of each kind")
    parser.add_argument("--samples", type=int, default=500, help="resamples of each")
    parser.add_argument("--videos", type=int, nargs="+", default=VIDEOS, help="numbers of videos")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    share_rows = [
        shares(clips, accuracy, num_videos, options)
        for clips in CLIPS
        for accuracy in ACCURACIES
        for num_videos in options.videos
    ]
    other_rows = [
        row
        for accuracy in ACCURACIES[1:]
        for num_videos in options.videos
        for row in others(accuracy, num_videos, options)
    ]
    if options.json:
        print(json.dumps([asdict(row) for row in share_rows + other_rows], indent=1))
    else:
        print(table("clips a video | true accuracy", share_rows), "")
        print(table("number | truth", other_rows))
    good = all(row.ours.coverage >= LEAST_COVERAGE for row in share_rows)
    good &= all(row.ours.coverage >= LEAST_OF_OTHERS for row in other_rows)
    return 0 if good else 1


def table(head: str, rows: Sequence[Row]) -> str:
    """Return rows as a table: coverage and, in brackets, mean width."""
    lines = [f"| {head} | videos | ours | percentiles | Wilson |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.num_videos} | {row.ours} | {row.resampled} | "
        f"{row.independent or ''} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
