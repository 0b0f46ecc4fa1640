"""Numbers that say how good answers to rows' own questions are, with intervals.

A row is asked `samples` times. Accuracy is the share of all answers that count as correct: pass@1,
and with several samples at a temperature avg@k. pass@k is the share of rows with a correct one
among their samples. Intervals look between questions (a row's `video_id`), whose samples are not
independent.

Arrays of sums have the axis
    question    what must not be in Train and in Test at once
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assay_trainer.evaluation.intervals import (
    Interval,
    VideoSums,
    mean_interval,
    share_interval,
)
from assay_trainer.evaluation.summary import Estimate, TaskSummary


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """One answer to a row's question, compared with the truth."""

    row_id: str
    question_id: str
    """Rows with the same one are not independent."""
    task: str
    value: float
    """By the metric, strictly read, in [0, 1]."""
    is_correct: bool
    is_loosely_correct: bool
    is_well_formed: bool
    is_truncated: bool
    """Whether the length limit ended it."""
    length_tokens: int


def summarise_task(answers: Sequence[GradedAnswer]) -> TaskSummary:
    """Return the numbers of answers, of which there are some; their order does not matter."""
    by_row: dict[str, list[GradedAnswer]] = {}
    for answer in answers:
        by_row.setdefault(answer.row_id, []).append(answer)
    rows = [(some[0].question_id, any(a.is_correct for a in some)) for some in by_row.values()]
    questions = [answer.question_id for answer in answers]

    def share(value: Callable[[GradedAnswer], float]) -> Estimate:
        return _estimate(questions, [value(answer) for answer in answers], share_interval)

    return TaskSummary(
        num_rows=len(by_row),
        num_answers=len(answers),
        accuracy=share(lambda answer: answer.is_correct),
        pass_at_k=_estimate([q for q, _ in rows], [one for _, one in rows], share_interval),
        value=share(lambda answer: answer.value),
        loose_accuracy=share(lambda answer: answer.is_loosely_correct),
        unparsed_rate=share(lambda answer: not answer.is_well_formed),
        truncated_rate=share(lambda answer: answer.is_truncated),
        mean_length_tokens=_estimate(questions, [a.length_tokens for a in answers], mean_interval),
    )


def _estimate(
    questions: Sequence[str],
    values: Sequence[float],
    interval_of: Callable[[VideoSums], Interval | None],
) -> Estimate:
    _, question = np.unique(questions, return_inverse=True)
    column = np.asarray(values, dtype=np.float64)
    sums = VideoSums.of(
        np.bincount(question).astype(np.float64),
        np.bincount(question, weights=column).astype(np.float64),
        np.bincount(question, weights=column**2).astype(np.float64),
    )
    found = interval_of(sums)
    if found is None:
        return Estimate(value=sums.mean, low=None, high=None)
    # Rounding must not put the value outside of its interval.
    return Estimate(value=sums.mean, low=min(found.low, sums.mean), high=max(found.high, sums.mean))
