"""What a prompt shows of its row: a video, pictures, or nothing."""

import logging
from collections.abc import Collection, Sequence

from assay_api import InvalidInput
from assay_api.prompt import Prompt, PromptSource
from assay_data.dataset import ClipDataset, ClipRow
from assay_trainer.chat import shown_frames
from assay_trainer.records import Clip, Media, Pictures, Shown

_LOG = logging.getLogger(__name__)


def row_media(
    dataset: ClipDataset, row_id: str, shows: Shown, *, max_pictures: int | None = None
) -> Media:
    """Return what a prompt shows of a row.

    Args:
        dataset: the row's.
        row_id: of the row.
        shows: how its frames are shown.
        max_pictures: at most so many of its frames, evenly spaced; None: all.

    Raises:
        InvalidInput: the dataset has no such row, or the row has no frames to be shown.
        StoreError: its frames cannot be read.
    """
    match shows:
        case Shown.VIDEO:
            return Clip(dataset.frames(row_id), dataset.row(row_id).sampled_fps)
        case Shown.PICTURES:
            frames = dataset.frames(row_id)
            if max_pictures is None:
                return Pictures(frames)
            return Pictures(frames[list(shown_frames(len(frames), max_pictures))])
    return None


def shown_rows(
    rows: Sequence[ClipRow], prompt: Prompt, shows: Collection[Shown], part: str
) -> tuple[ClipRow, ...]:
    """Return the rows that a model can be asked about; say how many it can't be shown.

    Args:
        rows: that lack nothing.
        prompt: what they are asked.
        shows: what the model can be shown.
        part: name of the part of the dataset, for messages.

    Raises:
        InvalidInput: it can be asked about none.
    """
    if prompt.source is PromptSource.QUESTION:
        if Shown.VIDEO not in shows:
            raise InvalidInput(
                "spec.prompt.source: Question asks about a video, and the model is one of text "
                "only: ask what the rows ask (Problem, Messages or Raw), or use a model that is "
                "shown videos, such as Qwen2.5-VL"
            )
        return tuple(rows)
    kept = tuple(row for row in rows if Shown.PICTURES in shows or not row.timestamps_seconds)
    if not kept:
        raise InvalidInput(
            f"spec.dataset: no row of {part} can be asked about, of {len(rows)}: all show "
            "pictures, and the model is one of text only; use a model that is shown pictures"
        )
    if len(kept) < len(rows):
        _LOG.warning(
            "%d of %d rows of %s are left out: they show pictures, and the model is one of text "
            "only",
            *(len(rows) - len(kept), len(rows), part),
        )
    return kept
