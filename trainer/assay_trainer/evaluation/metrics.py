"""Numbers that say how good a detector's answers are, with intervals.

Every number is a function of sums over answers (how many, how many right, ...). They are computed
once for each video: the test set is their total, and how they differ between videos says how far
each number can be trusted (`intervals.py`).

The rules, for one thinking mode (positive is fake):
    strict verdict     what the exact answer format says; None if the answer does not parse
    unparsed answer    wrong, whatever its label; an unparsed fake is a miss (false negative), an
                       unparsed real is not a false alarm, since nothing was called fake
    unlabelled answer  counts as an answer only: what needs the truth is over the labelled ones
    undefined          a number whose denominator is zero is None, never 0

Arrays of sums have the axis
    video     source videos, sorted by id
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay_api import ThinkingMode
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
from assay_trainer.evaluation.summary import Estimate, GeneratorAccuracy, ModeSummary, Summary
from assay_trainer.records import FAKE, REAL

NUM_CALIBRATION_BINS = 10
"""Bins of equal width between 0 and 1 for the expected calibration error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer about one clip."""

    row_id: str
    """Identifies the clip."""
    video_id: str
    """Identifies the source video; clips of one video are not independent."""
    label: str
    """The truth: `real` or `fake`; empty if it is not known."""
    generator: str
    """What made the video; reals have a name here too. Empty without a label."""
    mode: ThinkingMode
    """The thinking mode that was asked for."""
    verdict: str | None
    """`real` or `fake` by the strict parser; None if the answer does not parse."""
    loose_verdict: str | None
    """The same by the forgiving parser."""
    probability_fake: float | None
    """The model's own probability that the clip is fake, between 0 and 1, if it was measured."""
    length_tokens: int
    """Tokens of the answer."""
    followed_mode: bool
    """Whether it reasoned exactly if it was asked to."""

    def __post_init__(self) -> None:
        """Refuse labels, verdicts and probabilities that mean nothing."""
        if self.label not in (REAL, FAKE, ""):
            raise ValueError(f"answer {self.row_id}: label {self.label!r} is not real, fake, empty")
        for name in ("verdict", "loose_verdict"):
            if getattr(self, name) not in (REAL, FAKE, None):
                raise ValueError(
                    f"answer {self.row_id}: {name} {getattr(self, name)!r} is not real, fake, None"
                )
        if self.probability_fake is not None and not 0 <= self.probability_fake <= 1:
            raise ValueError(
                f"answer {self.row_id}: probability_fake {self.probability_fake} is outside [0, 1]"
            )


def summarise(
    answers: Sequence[Answer],
    bootstrap_samples: int,
    seed: int,
    left_out: Mapping[str, int] | None = None,
) -> Summary:
    """Return the numbers of every thinking mode that was asked for, with 95 % intervals.

    Intervals speak of videos, so that many clips of one do not pass for independent evidence. The
    order of the answers does not matter.

    Args:
        answers: at most one per clip and mode.
        bootstrap_samples: resamples for the interval of the calibration error.
        seed: of the resampling.
        left_out: clips that could not be asked about, by what they lack.

    Raises:
        ValueError: there are no answers, or two about the same clip in the same mode.
    """
    if not answers:
        raise ValueError("no answers to summarise: a missing result is not a result")
    seen: set[tuple[str, ThinkingMode]] = set()
    for answer in answers:
        if (answer.row_id, answer.mode) in seen:
            raise ValueError(f"two answers about row {answer.row_id} in mode {answer.mode}")
        seen.add((answer.row_id, answer.mode))
    modes = {
        mode: _summarise_mode([a for a in answers if a.mode is mode], bootstrap_samples, seed)
        for mode in ThinkingMode
        if any(a.mode is mode for a in answers)
    }
    return Summary(
        modes=modes,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        left_out=dict(left_out or {}),
    )


SHARES = {
    "accuracy": ("correct", "labelled"),
    "loose_accuracy": ("loosely_correct", "labelled"),
    "precision": ("true_positives", "called_fake"),
    "recall": ("true_positives", "fakes"),
    "real_accuracy": ("correct_reals", "reals"),
    "unparsed_rate": ("unparsed", "answers"),
    "mode_followed_rate": ("followed_mode", "answers"),
}
"""Numbers that are a share: which answers, of which."""


def _summarise_mode(answers: Sequence[Answer], samples: int, seed: int) -> ModeSummary:
    sums = _sums_by_video(answers)
    made_by = sorted({a.generator for a in answers if a.label})
    return ModeSummary(
        num_answers=len(answers),
        num_videos=len(sums["answers"]),
        num_unlabelled=sum(not a.label for a in answers),
        num_probabilities=sum(a.probability_fake is not None for a in answers if a.label),
        generators={
            name: GeneratorAccuracy(
                num_answers=sum(a.generator == name for a in answers),
                accuracy=_share(sums, f"correct_made_by/{name}", f"made_by/{name}"),
            )
            for name in made_by
        },
        acc_g=_acc_g(sums),
        f1=_f1(sums),
        mean_length_tokens=_mean_length(sums),
        brier=_brier(sums),
        calibration_error=_calibration_error(sums, samples, seed),
        **{name: _share(sums, *parts) for name, parts in SHARES.items()},
    )


def _share(sums: Mapping[str, Floats], part: str, whole: str) -> Estimate:
    videos = VideoSums.of(sums[whole], sums[part])
    return _estimate(videos, videos.mean, share_interval) if videos.counts.size else _UNDEFINED


def _f1(sums: Mapping[str, Floats]) -> Estimate:
    # True positives, and with them false positives and false negatives.
    hits, involved = sums["true_positives"], sums["fakes"] + sums["called_fake"]
    videos = VideoSums.of(involved - hits, hits)
    if not videos.counts.size:
        return _UNDEFINED
    return _estimate(videos, float(2 * hits.sum() / involved.sum()), f1_interval)


def _acc_g(sums: Mapping[str, Floats]) -> Estimate:
    reals, fakes = sums["reals"], sums["fakes"]
    if not (reals.any() and fakes.any()):
        return _UNDEFINED
    on_reals = VideoSums.of(reals, sums["correct_reals"])
    on_fakes = VideoSums.of(fakes, sums["true_positives"])
    shared = bool(((reals > 0) & (fakes > 0)).any())
    interval = middle_interval(on_reals, on_fakes, shared_videos=shared)
    return _with((on_reals.mean + on_fakes.mean) / 2, interval)


def _mean_length(sums: Mapping[str, Floats]) -> Estimate:
    videos = VideoSums.of(sums["answers"], sums["tokens"])
    return _estimate(videos, videos.mean, mean_interval)


def _brier(sums: Mapping[str, Floats]) -> Estimate:
    errors = VideoSums.of(
        sums["probabilities"], sums["squared_errors"], sums["squares_of_squared_errors"]
    )
    return _estimate(errors, errors.mean, share_interval) if errors.counts.size else _UNDEFINED


def _calibration_error(sums: Mapping[str, Floats], samples: int, seed: int) -> Estimate:
    given = sums["probabilities"]
    if not given.any():
        return _UNDEFINED
    surplus = np.stack([sums[f"surplus/{index}"] for index in range(NUM_CALIBRATION_BINS)], axis=1)
    interval = calibration_interval(given, surplus, samples=samples, seed=seed)
    return _with(float(np.abs(surplus.sum(axis=0)).sum() / given.sum()), interval)


_UNDEFINED = Estimate(value=None, low=None, high=None)


def _estimate(
    videos: VideoSums, value: float, interval: Callable[[VideoSums], Interval | None]
) -> Estimate:
    return _with(value, interval(videos))


def _with(value: float, interval: Interval | None) -> Estimate:
    if interval is None:
        return Estimate(value=value, low=None, high=None)
    # Rounding must not put the value outside of its interval.
    return Estimate(value=value, low=min(interval.low, value), high=max(interval.high, value))


def _sums_by_video(answers: Sequence[Answer]) -> dict[str, Floats]:
    """Return, per quantity, its sum over each video's answers (axis: video)."""
    _, video = np.unique([a.video_id for a in answers], return_inverse=True)
    return {
        name: np.bincount(video, weights=column).astype(np.float64)
        for name, column in _columns(answers).items()
    }


def _columns(answers: Sequence[Answer]) -> dict[str, Floats]:
    """Return, per quantity, its value for each answer."""
    labelled = np.array([bool(a.label) for a in answers])
    fake = np.array([a.label == FAKE for a in answers])
    correct = np.array([a.verdict == a.label for a in answers])
    called_fake = labelled & np.array([a.verdict == FAKE for a in answers])
    columns = {
        "answers": np.ones(len(answers)),
        "labelled": labelled,
        "fakes": fake,
        "reals": labelled & ~fake,
        "correct": correct,
        "correct_reals": correct & ~fake,
        "true_positives": called_fake & fake,
        "called_fake": called_fake,
        "loosely_correct": np.array([a.loose_verdict == a.label for a in answers]),
        "unparsed": np.array([a.verdict is None for a in answers]),
        "followed_mode": np.array([a.followed_mode for a in answers]),
        "tokens": np.array([a.length_tokens for a in answers]),
        **_calibration_columns(answers, fake),
    }
    for name in {a.generator for a in answers if a.label}:
        made_by = np.array([a.generator == name for a in answers])
        columns[f"made_by/{name}"] = made_by
        columns[f"correct_made_by/{name}"] = made_by & correct
    return {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}


def _calibration_columns(answers: Sequence[Answer], fake: NDArray[np.bool_]) -> dict[str, Floats]:
    given = np.array([a.probability_fake is not None and bool(a.label) for a in answers])
    probability = np.array([a.probability_fake or 0.0 for a in answers])
    surplus = np.where(given, probability - fake, 0.0)
    bins = np.minimum(probability * NUM_CALIBRATION_BINS, NUM_CALIBRATION_BINS - 1).astype(int)
    columns = {
        "probabilities": given,
        "squared_errors": surplus**2,
        "squares_of_squared_errors": surplus**4,
    }
    for index in range(NUM_CALIBRATION_BINS):
        columns[f"surplus/{index}"] = np.where(bins == index, surplus, 0.0)
    return columns
