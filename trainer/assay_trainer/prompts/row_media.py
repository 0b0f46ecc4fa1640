"""What a prompt shows of its row: a video, pictures, or nothing."""

from assay_data.dataset import ClipDataset
from assay_trainer.chat import shown_frames
from assay_trainer.records import Clip, Media, Pictures, Shown


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
