"""Which rows training and evaluation can use, by what is known of them without their frames."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from assay_api.prompt import PromptSource
from assay_data.dataset.rows import IMAGE_MARK, LABELS, ClipRow
from assay_data.video.frames import visual_tokens


class Lack(StrEnum):
    """What a row lacks, for people."""

    FRAMES = "no frames (text, or ingested without --media)"
    EVEN_FRAMES = "frames that make no tokens (an odd number, such as one picture)"
    LABEL = "no label real or fake"
    TEXT = "no question of its own"
    PICTURES = "no pictures where its text shows some (ingested without --media)"
    ANSWER = "no right answer"


def lack_of(
    row: ClipRow, *, needs_label: bool, source: PromptSource = PromptSource.QUESTION
) -> Lack | None:
    """Return what a row lacks to be asked about; None: nothing.

    Args:
        row: the row.
        needs_label: whether the answer is compared with the truth: the row's label, or its own
            answer where it asks a question of its own.
        source: where the question comes from.
    """
    if source is not PromptSource.QUESTION:
        return _lack_of_own(row, needs_answer=needs_label)
    if not row.timestamps_seconds:
        return Lack.FRAMES
    if not makes_tokens(len(row.timestamps_seconds), row.width, row.height):
        return Lack.EVEN_FRAMES
    return Lack.LABEL if needs_label and row.label not in LABELS else None


def _lack_of_own(row: ClipRow, *, needs_answer: bool) -> Lack | None:
    """Return what a row lacks to be asked its own question."""
    texts = [row.problem, *(turn.content for turn in row.prompt)]
    if not any(text.strip() for text in texts):
        return Lack.TEXT
    if any(IMAGE_MARK in text for text in texts) and not row.timestamps_seconds:
        return Lack.PICTURES
    return Lack.ANSWER if needs_answer and not row.answer.strip() else None


def makes_tokens(num_frames: int, width: int, height: int) -> bool:
    """Tell whether a model takes frames of this number and size, as they are."""
    try:
        return visual_tokens(num_frames, width, height) > 0
    except ValueError:
        return False


def usable_rows(
    rows: Iterable[ClipRow], *, needs_label: bool, source: PromptSource = PromptSource.QUESTION
) -> tuple[ClipRow, ...]:
    """Return the rows that lack nothing, in order."""
    return tuple(
        row for row in rows if lack_of(row, needs_label=needs_label, source=source) is None
    )


def count_without_answer(rows: Iterable[ClipRow]) -> int:
    """Return how many rows are bare prompts: of formats in which an answer may be missing."""
    return sum(not row.answer.strip() for row in rows)


def count_lacks(
    rows: Iterable[ClipRow], *, needs_label: bool, source: PromptSource = PromptSource.QUESTION
) -> dict[str, int]:
    """Return how many rows lack what, the most frequent first."""
    lacks = (lack_of(row, needs_label=needs_label, source=source) for row in rows)
    return dict(Counter(lack.value for lack in lacks if lack is not None).most_common())
