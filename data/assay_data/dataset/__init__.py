"""A dataset: what its rows are, how shards hold them, and how they are read and shown.

rows.py              a row: what is asked about which frames, and what is known of the answer
columns.py           the columns of a shard, ours and those of other tools
shards.py            Parquet files, written and read
clips.py             a finished dataset, opened: `ClipDataset`
pictures.py          compressed pictures to frames
order.py             the shuffled order of rows, and places in it
reader.py            rows with frames, read ahead, dealt to ranks
reader_position.py   how far that is, exactly, on any number of ranks
usable.py            which rows training and evaluation can use
overview.py          a dataset in numbers
card.py              the same as a dataset card, README.md, for people and for `datasets`
contact_sheet.py     a picture of some of its clips; selection.py chooses them
"""

from assay_data.dataset.clips import (
    DROPS,
    INFO,
    REMEDY,
    SHAPES,
    ClipDataset,
    clip_shapes,
    dropped_files,
    published_bytes,
    shapes_of,
    verify_dataset,
)
from assay_data.dataset.pictures import decode_image
from assay_data.dataset.rows import ClipRow

__all__ = [
    "DROPS",
    "INFO",
    "REMEDY",
    "SHAPES",
    "ClipDataset",
    "ClipRow",
    "clip_shapes",
    "decode_image",
    "dropped_files",
    "published_bytes",
    "shapes_of",
    "verify_dataset",
]
