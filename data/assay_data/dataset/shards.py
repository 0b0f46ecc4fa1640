"""Shards: Parquet files of rows. A row with frames is a row group, so that it is read alone.

The rows of a split have shards of their own, `train-00000-of-00002.parquet`, so that every tool
that reads a folder by the names in it keeps test rows out of training. Which shards a dataset has,
`dataset.json` lists: older datasets have `part-00000.parquet` with rows of both splits.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay_api import Split
from assay_data.atomic import replacing, world_errors
from assay_data.dataset.columns import LATER_COLUMNS, OWN_COLUMNS, SCHEMA, to_row, to_values
from assay_data.dataset.rows import ClipRow
from assay_data.drops import Drop, parse_drops

__all__ = [
    "Clip",
    "ClipRow",
    "read_clips",
    "read_drops",
    "read_image_sizes",
    "read_images",
    "read_rows",
    "write_shard",
    "write_shards",
]

TARGET_SHARD_BYTES = 256 * 2**20
"""A shard ends with the row that reaches this: few enough requests, and no upload too large."""
MAX_ROW_GROUPS = 64
"""A shard ends with this many row groups: each read of a row reads the list of all of them."""
ROWS_WITHOUT_FRAMES_PER_GROUP = 1024
_DROPS = b"assay.drops"

Clip = tuple[ClipRow, tuple[bytes, ...]]
"""A row and its frames as picture files."""


def write_shards(
    folder: Path,
    split: Split,
    clips: Iterable[Clip],
    *,
    first_index: int = 0,
    target_bytes: int = TARGET_SHARD_BYTES,
) -> list[str]:
    """Write the rows of a split into shards of a bounded size; return the files' names, in order.

    Args:
        folder: where they go.
        split: of all these rows.
        clips: rows, each with its frames; none: no file is written.
        first_index: place of the first row in the dataset.
        target_bytes: a shard ends with the row that reaches this.

    Raises:
        StoreError: the disk is full or not writable.
    """
    written: list[Path] = []
    waiting = iter(clips)
    for first in waiting:
        # How many there will be is known at the end only.
        written.append(folder / f"{split.lower()}-{len(written):05d}.parquet")
        batch = _one_shard(first, waiting, target_bytes)
        first_index += write_shard(written[-1], batch, first_index=first_index)
    named = [path.with_stem(f"{path.stem}-of-{len(written):05d}") for path in written]
    with world_errors(folder, "cannot name the shards"):
        for path, name in zip(written, named, strict=True):
            path.rename(name)
    return [path.name for path in named]


def _one_shard(first: Clip, waiting: Iterator[Clip], target_bytes: int) -> Iterator[Clip]:
    """Yield the first clip, and then as many as one shard holds; take no more than that."""
    size_bytes = num_groups = 0
    clip: Clip | None = first
    while clip is not None:
        yield clip
        row, images = clip
        size_bytes += sum(map(len, images)) + len(row.problem) + len(row.evidence)
        size_bytes += len(json.dumps(dict(row.extra))) if row.extra else 0
        num_groups += bool(images)
        full = size_bytes >= target_bytes or num_groups >= MAX_ROW_GROUPS
        clip = None if full else next(waiting, None)


def write_shard(
    path: Path, clips: Iterable[Clip], drops: Iterable[Drop] = (), first_index: int = 0
) -> int:
    """Write rows with their frames, and drops beside them, atomically; return how many rows.

    Args:
        path: the new file.
        clips: rows, each with its frames.
        drops: what did not become a row.
        first_index: place of the first row in the dataset.

    Raises:
        StoreError: the disk is full or not writable; nothing was kept.
    """
    num_rows = 0
    noted = json.dumps([asdict(drop) for drop in drops])
    schema = SCHEMA.with_metadata({**SCHEMA.metadata, _DROPS: noted})
    with world_errors(path, "cannot write a shard; nothing of it was kept"):
        with replacing(path) as temporary, _writer(temporary, schema) as writer:
            for group in _row_groups(clips):
                values = [
                    to_values(row, images, first_index + num_rows + position)
                    for position, (row, images) in enumerate(group)
                ]
                writer.write_table(pa.Table.from_pylist(values, schema=schema))
                num_rows += len(group)
    return num_rows


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file. Statistics and dictionaries of single rows would only lengthen its footer."""
    return pq.ParquetWriter(path, schema, write_statistics=False, use_dictionary=False)


def _row_groups(clips: Iterable[Clip]) -> Iterator[list[Clip]]:
    """Yield each row with frames alone, and rows without frames many at a time."""
    waiting: list[Clip] = []
    for clip in clips:
        _, images = clip
        if images and waiting:
            yield waiting
            waiting = []
        waiting.append(clip)
        if images or len(waiting) == ROWS_WITHOUT_FRAMES_PER_GROUP:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def read_rows(path: Path) -> list[ClipRow]:
    """Return the rows of a shard in order, frames left on the disk."""
    columns = _columns(pq.read_schema(path))
    return [to_row(values) for values in pq.read_table(path, columns=columns).to_pylist()]


def _columns(schema: pa.Schema) -> list[str]:
    """Return which of our own columns to read of a shard, which may be older than some of them."""
    return [name for name in OWN_COLUMNS if name not in LATER_COLUMNS or name in schema.names]


def read_image_sizes(path: Path) -> list[int]:
    """Return how many bytes the frames of each row take, by the shard's own list of its groups.

    Rows that share a group have no frames: 0.
    """
    sizes: list[int] = []
    metadata = pq.read_metadata(path)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(i) for i in range(group.num_columns)]
        images = [c for c in columns if c.path_in_schema.startswith("images.")]
        size_bytes = sum(column.total_uncompressed_size for column in images)
        sizes += [size_bytes] if group.num_rows == 1 else [0] * group.num_rows
    return sizes


def read_images(path: Path, index: int) -> tuple[bytes, ...]:
    """Return the frames of one row as picture files."""
    with pq.ParquetFile(path) as file:
        group = 0
        while index >= (size := file.metadata.row_group(group).num_rows):
            index -= size
            group += 1
        column = file.read_row_group(group, columns=["images"])["images"]
        images: list[dict[str, Any]] = column[index].as_py()
    return tuple(image["bytes"] for image in images)


def read_clips(path: Path, wanted: Callable[[ClipRow], bool] = lambda row: True) -> Iterator[Clip]:
    """Yield the wanted rows of a shard with their frames, one row group at a time."""
    with pq.ParquetFile(path) as file:
        columns = _columns(file.schema_arrow)
        for group in range(file.num_row_groups):
            values = file.read_row_group(group, columns=columns).to_pylist()
            rows = [(place, row) for place, row in enumerate(map(to_row, values)) if wanted(row)]
            # Frames are most of a file: those of groups that nobody wants are left on the disk.
            column = file.read_row_group(group, columns=["images"])["images"] if rows else None
            for place, row in rows:
                assert column is not None
                yield row, tuple(image["bytes"] for image in column[place].as_py())


def read_drops(path: Path) -> list[Drop]:
    """Return the drops that were written beside the rows."""
    return parse_drops(json.loads(pq.read_schema(path).metadata[_DROPS]))
