"""Shards: Parquet files with one clip per row and per row group, so that a clip is read alone."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assay_data.atomic import replacing, world_errors
from assay_data.drops import Drop, parse_drops
from assay_data.lessons import Example

_EXAMPLE = pa.struct([("task", pa.string()), ("prompt", pa.string()), ("response", pa.string())])
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("video_id", pa.string()),
        ("label", pa.string()),
        ("generator", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("sampled_fps", pa.float64()),
        ("timestamps_seconds", pa.list_(pa.float64())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("images", pa.list_(pa.binary())),
        ("examples", pa.list_(_EXAMPLE)),
    ]
)
_DROPS = b"assay.drops"


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip of a dataset, without its frames. Times are seconds from the video's start."""

    row_id: str
    """The video's identifier and the clip's index: unique in the dataset."""
    video_id: str
    label: str
    """`real` or `fake`."""
    generator: str
    """What made the fake; `real` for the real ones."""
    split: str
    """`Train` or `Test`."""
    source: str
    """The video's path, relative to the source folder."""
    source_sha256: str
    """Of the video file's bytes."""
    start_seconds: float
    end_seconds: float
    sampled_fps: float
    """Frames per second of the frames that were taken."""
    timestamps_seconds: tuple[float, ...]
    """When each frame was taken."""
    width: int
    """Pixels of a frame, as is `height`."""
    height: int
    examples: tuple[Example, ...]
    """Supervised examples on this clip."""


def write_shard(
    path: Path, clips: Iterable[tuple[ClipRow, tuple[bytes, ...]]], drops: Iterable[Drop] = ()
) -> int:
    """Write rows with their frames, and drops beside them, atomically; return how many rows.

    Raises:
        StoreError: the disk is full or not writable; nothing was kept.
    """
    num_rows = 0
    noted = json.dumps([asdict(drop) for drop in drops])
    schema = SCHEMA.with_metadata({_DROPS: noted})
    with world_errors(path, "cannot write a shard; nothing of it was kept"):
        with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for row, images in clips:
                values = asdict(row) | {"images": images}
                writer.write_table(pa.Table.from_pylist([values], schema=schema))
                num_rows += 1
    return num_rows


def read_rows(path: Path) -> list[ClipRow]:
    """Return the rows of a shard in order, frames left on the disk."""
    columns = [name for name in SCHEMA.names if name != "images"]
    return [_row(values) for values in pq.read_table(path, columns=columns).to_pylist()]


def read_images(path: Path, index: int) -> tuple[bytes, ...]:
    """Return the frames of one row as JPEG files."""
    with pq.ParquetFile(path) as file:
        images: list[bytes] = file.read_row_group(index, columns=["images"])["images"][0].as_py()
    return tuple(images)


def read_clips(path: Path) -> Iterator[tuple[ClipRow, tuple[bytes, ...]]]:
    """Yield the rows of a shard with their frames, one at a time."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            (values,) = file.read_row_group(index).to_pylist()
            images: list[bytes] = values.pop("images")
            yield _row(values), tuple(images)


def read_drops(path: Path) -> list[Drop]:
    """Return the drops that were written beside the rows."""
    return parse_drops(json.loads(pq.read_schema(path).metadata[_DROPS]))


def _row(values: dict[str, object]) -> ClipRow:
    """Build a row out of a Parquet row's values."""
    examples = values.pop("examples")
    timestamps = values.pop("timestamps_seconds")
    assert isinstance(examples, list) and isinstance(timestamps, list)
    return ClipRow(
        **values,  # type: ignore[arg-type]
        timestamps_seconds=tuple(timestamps),
        examples=tuple(Example(**example) for example in examples),
    )
