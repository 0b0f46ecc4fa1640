"""Numbers that say how good a detector's answers are, with intervals.

Every number is a function of sums over answers (how many, how many right, ...). The sums of one
video are computed once; the whole test set is their total, and a bootstrap resample is the same
total with each video counted as often as it was drawn. So one formula per number serves both.

The rules, for one thinking mode (positive is fake):
    strict verdict     what the exact answer format says; None if the answer does not parse
    unparsed answer    wrong, whatever its label; an unparsed fake is a miss (false negative), an
                       unparsed real is not a false alarm, since nothing was called fake
    undefined          a number whose denominator is zero is None, never 0

Arrays of sums have the axes
    sample    bootstrap resamples, or one: the test set itself
    video     source videos, sorted by id
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay_api import ThinkingMode
from assay_trainer.evaluation.summary import Estimate, GeneratorAccuracy, ModeSummary, Summary
from assay_trainer.records import FAKE, REAL

Floats = NDArray[np.float64]

NUM_CALIBRATION_BINS = 10
"""Bins of equal width between 0 and 1 for the expected calibration error."""

_BLOCK_ENTRIES = 4_000_000
"""Draw counts held at once (resamples times videos): 32 MB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer about one clip."""

    row_id: str
    """Identifies the clip."""
    video_id: str
    """Identifies the source video; clips of one video are not independent."""
    label: str
    """The truth: `real` or `fake`."""
    generator: str
    """What made the video; reals have a name here too."""
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
        if self.label not in (REAL, FAKE):
            raise ValueError(f"answer {self.row_id}: label {self.label!r} is not real or fake")
        for name in ("verdict", "loose_verdict"):
            if getattr(self, name) not in (REAL, FAKE, None):
                raise ValueError(
                    f"answer {self.row_id}: {name} {getattr(self, name)!r} is not real, fake, None"
                )
        if self.probability_fake is not None and not 0 <= self.probability_fake <= 1:
            raise ValueError(
                f"answer {self.row_id}: probability_fake {self.probability_fake} is outside [0, 1]"
            )


def summarise(answers: Sequence[Answer], bootstrap_samples: int, seed: int) -> Summary:
    """Return the numbers of every thinking mode that was asked for, with 95 % intervals.

    Intervals are percentiles of resamples in which whole videos are drawn with replacement, so
    that many clips of one video do not pass for independent evidence. The order of the answers
    does not matter, and modes asked about the same videos are resampled alike.

    Args:
        answers: at most one per clip and mode.
        bootstrap_samples: resamples.
        seed: of the resampling.

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
    return Summary(modes=modes, bootstrap_samples=bootstrap_samples, seed=seed)


def _summarise_mode(answers: Sequence[Answer], samples: int, seed: int) -> ModeSummary:
    sums = _sums_by_video(answers)
    num_videos = len({a.video_id for a in answers})
    values = _numbers({name: total.sum(keepdims=True) for name, total in sums.items()})
    resampled = _numbers(_resample(sums, samples, seed)) if num_videos > 1 else {}
    estimates = {name: _estimate(value, resampled.get(name)) for name, value in values.items()}
    generators = {
        generator: GeneratorAccuracy(
            num_answers=sum(a.generator == generator for a in answers),
            accuracy=estimates.pop(f"generator/{generator}"),
        )
        for generator in sorted({a.generator for a in answers})
    }
    return ModeSummary(
        num_answers=len(answers),
        num_videos=num_videos,
        num_probabilities=sum(a.probability_fake is not None for a in answers),
        generators=generators,
        **estimates,
    )


def _sums_by_video(answers: Sequence[Answer]) -> dict[str, Floats]:
    """Return, per quantity, its sum over each video's answers (axis: video)."""
    _, video = np.unique([a.video_id for a in answers], return_inverse=True)
    return {
        name: np.bincount(video, weights=column).astype(np.float64)
        for name, column in _columns(answers).items()
    }


def _columns(answers: Sequence[Answer]) -> dict[str, Floats]:
    """Return, per quantity, its value for each answer."""
    fake = np.array([a.label == FAKE for a in answers])
    correct = np.array([a.verdict == a.label for a in answers])
    called_fake = np.array([a.verdict == FAKE for a in answers])
    columns = {
        "answers": np.ones(len(answers)),
        "fakes": fake,
        "reals": ~fake,
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
    for name in {a.generator for a in answers}:
        made_by = np.array([a.generator == name for a in answers])
        columns[f"made_by/{name}"] = made_by
        columns[f"correct_made_by/{name}"] = made_by & correct
    return {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}


def _calibration_columns(answers: Sequence[Answer], fake: NDArray[np.bool_]) -> dict[str, Floats]:
    given = np.array([a.probability_fake is not None for a in answers])
    probability = np.array([a.probability_fake or 0.0 for a in answers])
    surplus = np.where(given, probability - fake, 0.0)
    bins = np.minimum(probability * NUM_CALIBRATION_BINS, NUM_CALIBRATION_BINS - 1).astype(int)
    columns = {"probabilities": given, "squared_errors": surplus**2}
    for index in range(NUM_CALIBRATION_BINS):
        columns[f"surplus/{index}"] = np.where(bins == index, surplus, 0.0)
    return columns


def _resample(sums: Mapping[str, Floats], samples: int, seed: int) -> dict[str, Floats]:
    """Return the sums of bootstrap resamples of the videos (axis: sample)."""
    rng = np.random.default_rng(seed)
    table = np.stack(list(sums.values()), axis=1)
    num_videos = len(table)
    block = max(1, _BLOCK_ENTRIES // num_videos)
    totals = [
        rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=size) @ table
        for size in _block_sizes(samples, block)
    ]
    return dict(zip(sums, np.concatenate(totals).T, strict=True))


def _block_sizes(total: int, block: int) -> list[int]:
    return [min(block, total - start) for start in range(0, total, block)]


def _numbers(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return every number from the sums it is made of; nan where it is undefined."""
    false_positives = sums["called_fake"] - sums["true_positives"]
    false_negatives = sums["fakes"] - sums["true_positives"]
    real_accuracy = _ratio(sums["correct_reals"], sums["reals"])
    recall = _ratio(sums["true_positives"], sums["fakes"])
    bin_gaps = [abs(sums[f"surplus/{index}"]) for index in range(NUM_CALIBRATION_BINS)]
    numbers = {
        "accuracy": _ratio(sums["correct"], sums["answers"]),
        "loose_accuracy": _ratio(sums["loosely_correct"], sums["answers"]),
        "precision": _ratio(sums["true_positives"], sums["called_fake"]),
        "recall": recall,
        "f1": _ratio(
            2 * sums["true_positives"],
            2 * sums["true_positives"] + false_positives + false_negatives,
        ),
        "real_accuracy": real_accuracy,
        "acc_g": (real_accuracy + recall) / 2,
        "unparsed_rate": _ratio(sums["unparsed"], sums["answers"]),
        "mode_followed_rate": _ratio(sums["followed_mode"], sums["answers"]),
        "mean_length_tokens": _ratio(sums["tokens"], sums["answers"]),
        "brier": _ratio(sums["squared_errors"], sums["probabilities"]),
        "calibration_error": _ratio(np.sum(bin_gaps, axis=0), sums["probabilities"]),
    }
    for name, made_by in sums.items():
        kind, _, generator = name.partition("/")
        if kind == "made_by":
            correct = sums[f"correct_made_by/{generator}"]
            numbers[f"generator/{generator}"] = _ratio(correct, made_by)
    return numbers


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    undefined = np.full_like(denominator, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _estimate(value: Floats, resampled: Floats | None) -> Estimate:
    """Return the value with its interval over the resamples in which it is defined."""
    if np.isnan(value[0]):
        return Estimate(value=None, low=None, high=None)
    defined = np.empty(0) if resampled is None else resampled[~np.isnan(resampled)]
    if not defined.size:
        return Estimate(value=float(value[0]), low=None, high=None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=float(value[0]), low=float(low), high=float(high))
