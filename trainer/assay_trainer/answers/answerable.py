"""Rows whose right answer can be written in the answer format."""

import logging
from collections.abc import Sequence

from assay_api import InvalidInput
from assay_data.dataset import ClipRow
from assay_trainer.answers.parsed import AnswerFormat

_LOG = logging.getLogger(__name__)


def answerable_rows(
    rows: Sequence[ClipRow], answer_format: AnswerFormat, part: str
) -> tuple[ClipRow, ...]:
    """Return the rows that have a right answer in the format; say how many have none.

    Args:
        rows: with an answer.
        answer_format: of the stage or evaluation.
        part: name of the part of the dataset, for messages.

    Raises:
        InvalidInput: no row has one.
    """
    kept = tuple(row for row in rows if answer_format.truth(row) is not None)
    if len(kept) == len(rows):
        return kept
    other = next(row for row in rows if answer_format.truth(row) is None)
    example = f"such as {other.answer[:80]!r} of row {other.row_id}"
    if not kept:
        raise InvalidInput(
            f"spec.answer.format: {answer_format.name}: no row of {part} has an answer in this "
            f"format, of {len(rows)}, {example}; say how the rows' answers are written: Letter (A "
            "or B, real or fake), YesNo, Text or Boxed"
        )
    _LOG.warning(
        "%d of %d rows of %s are left out: their answers are none in the format %s "
        "(spec.answer.format), %s",
        *(len(rows) - len(kept), len(rows), part, answer_format.name, example),
    )
    return kept
