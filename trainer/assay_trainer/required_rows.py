"""The rows that a stage or an evaluation can use, told before any engine starts."""

import logging
from collections.abc import Sequence

from assay_api import InvalidInput, Split
from assay_api.prompt import PromptSource
from assay_api.stage import OWN_RESPONSE, Sft, TrainingStageSpec
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.usable import count_lacks, lack_of, usable_rows

_LOG = logging.getLogger(__name__)


def check_rows(dataset: ClipDataset, spec: TrainingStageSpec) -> None:
    """Say which rows a stage leaves out.

    Raises:
        InvalidInput: it can use none.
    """
    train, source = dataset.rows(Split.TRAIN), spec.prompt.source
    if spec.rl is not None:
        require_rows(train, "Train", needs_label=True, source=source)
        require_rows(dataset.rows(Split.TEST), "Test", needs_label=True, source=source)
        if spec.rl.factuality is not None:
            _require_evidence(train)
    elif spec.sft is not None and (taught := [row for row in train if is_taught(row, spec.sft)]):
        require_rows(taught, "Train", needs_label=False, source=source)


def _require_evidence(rows: Sequence[ClipRow]) -> None:
    """Say how many rows have evidence that reasoning can be checked against."""
    count = sum(bool(row.evidence.strip()) for row in rows)
    if not count:
        raise InvalidInput(
            f"spec.rl.factuality: none of {len(rows)} rows of Train has evidence to check the "
            "reasoning against: make the dataset out of a source that has it (FSPO's column "
            "`knowledge`), or leave factuality out"
        )
    if count < len(rows):
        _LOG.info(
            "%d of %d rows of Train have evidence; the others are not checked", *(count, len(rows))
        )


def is_taught(row: ClipRow, sft: Sft) -> bool:
    """Tell whether a row has something to be learned: examples, or a response of its own."""
    return bool(row.response.strip() if sft.task == OWN_RESPONSE else row.examples)


def require_rows(
    rows: Sequence[ClipRow],
    part: str,
    *,
    needs_label: bool,
    source: PromptSource = PromptSource.QUESTION,
) -> tuple[ClipRow, ...]:
    """Return the rows that can be used; warn of the others, by what they lack.

    Args:
        rows: of one part of a dataset.
        part: its name.
        needs_label: whether answers are compared with the truth.
        source: where the question comes from.

    Raises:
        InvalidInput: none can be used.
    """
    usable = usable_rows(rows, needs_label=needs_label, source=source)
    if len(usable) == len(rows) > 0:
        return usable
    lacks = count_lacks(rows, needs_label=needs_label, source=source)
    told = ", ".join(f"{lack}: {count}" for lack, count in lacks.items())
    first = next(
        (row for row in rows if lack_of(row, needs_label=needs_label, source=source)), None
    )
    named = f"; the first is {first.row_id} ({first.source})" if first else ""
    if not usable:
        raise InvalidInput(
            f"spec.dataset: no row of {part} can be used, of {len(rows)} ({told or 'no rows'}"
            f"{named}): `assay data show` tells what is in the dataset; mend its source, and "
            "make it anew"
        )
    _LOG.warning(
        "%d of %d rows of %s are left out (%s%s)",
        *(len(rows) - len(usable), len(rows), part, told, named),
    )
    return usable
