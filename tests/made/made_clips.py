"""Rows of clips made by hand, and datasets of them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay_data.dataset import ClipRow
from assay_data.dataset.shards import write_shard
from assay_data.drops import Drop
from assay_data.store import Store, open_store
from assay_data.video.prepare import encode_jpeg


def clip_row(name: str, **changes: object) -> ClipRow:
    """A row of a clip of two frames of 56x28 pixels."""
    values: dict[str, object] = {
        "row_id": f"{name}-0",
        "video_id": name,
        "label": "real",
        "generator": "real",
        "split": "Train",
        "source": f"real/{name}.mp4",
        "source_sha256": "0" * 64,
        "start_seconds": 0.0,
        "end_seconds": 5.0,
        "sampled_fps": 4.0,
        "timestamps_seconds": (0.0, 0.25),
        "width": 56,
        "height": 28,
        "examples": (),
    }
    return ClipRow(**(values | changes))  # type: ignore[arg-type]


def noise_frames(row: ClipRow, seed: int = 0) -> tuple[bytes, ...]:
    """Frames of noise, of the size and number that the row tells."""
    rng = np.random.default_rng(seed)
    shape = (len(row.timestamps_seconds), row.height, row.width, 3)
    return tuple(
        encode_jpeg(frame, row.width, row.height)
        for frame in rng.integers(0, 255, shape, dtype=np.uint8)
    )


def numbered_frames(row: ClipRow, place: int) -> tuple[bytes, ...]:
    """Frames that are as bright all over as the row's place says: see `place_of`."""
    frame = np.full((row.height, row.width, 3), place, dtype=np.uint8)
    return (encode_jpeg(frame, row.width, row.height),) * len(row.timestamps_seconds)


def place_of(frames: NDArray[np.uint8]) -> int:
    """Return the place of the row whose numbered frames these are."""
    (place,) = np.unique(frames)
    return int(place)


def publish_rows(
    folder: Path,
    rows: Sequence[ClipRow],
    drops: Iterable[Drop] = (),
    frames: Callable[[ClipRow, int], tuple[bytes, ...]] = noise_frames,
) -> Store:
    """Publish a dataset of these rows, five in a shard, with noise for frames if no others."""
    tree = folder / "tree"
    shards = []
    for start in range(0, len(rows), 5):
        shards.append(f"shards/part-{start // 5:05d}.parquet")
        part = enumerate(rows[start : start + 5], start)
        write_shard(tree / shards[-1], [(row, frames(row, place)) for place, row in part])
    (tree / "drops.json").write_text(json.dumps([asdict(drop) for drop in drops]))
    (tree / "dataset.json").write_text(json.dumps({"shards": shards}))
    store = open_store(str(folder / "dataset"))
    store.publish(tree, "")
    return store
