import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import clip_row

from assay_api import Dataset
from assay_data.dataset.shards import ClipRow, write_shard
from assay_data.drops import Drop
from assay_data.store import Store, open_store
from assay_data.video.prepare import encode_jpeg


def write_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 16,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    shade: int = 0,
) -> Path:
    """Write a video of which frame `i` is grey of level `16 + 5 * i + shade`, modulo 200."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.bit_rate = 4_000_000
        for index in range(round(seconds * fps)):
            level = (16 + 5 * index + shade) % 200
            frame = np.full((size[1], size[0], 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clip() -> Callable[..., Path]:
    return write_clip


@pytest.fixture
def four_videos(tmp_path: Path) -> Path:
    """A source folder with two real videos and two fake ones."""
    root = tmp_path / "source"
    for number, place in enumerate(["real/a", "real/b", "fake/sora/c", "fake/d"]):
        write_clip(root / f"{place}.mp4", shade=10 * number)
    return root


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    def make(root: Path, *, frames: dict[str, object] | None = None, **source: object) -> Dataset:
        plan = {"count": 8, "fps": 4.0} | (frames or {})
        spec = {"source": {"folder": {"uri": str(root), **source}}, "frames": plan}
        return Dataset.model_validate({"metadata": {"name": "videos"}, "spec": spec})

    return make


@pytest.fixture(scope="session")
def new_row() -> Callable[..., ClipRow]:
    return clip_row


def noise_frames(row: ClipRow, seed: int = 0) -> tuple[bytes, ...]:
    """Frames of noise, of the size and number that the row tells."""
    rng = np.random.default_rng(seed)
    shape = (len(row.timestamps_seconds), row.height, row.width, 3)
    return tuple(
        encode_jpeg(frame, row.width, row.height)
        for frame in rng.integers(0, 255, shape, dtype=np.uint8)
    )


def publish_rows(folder: Path, rows: Sequence[ClipRow], drops: Iterable[Drop] = ()) -> Store:
    """Publish a dataset of these rows, five in a shard, with noise for frames."""
    tree = folder / "tree"
    shards = []
    for start in range(0, len(rows), 5):
        shards.append(f"shards/part-{start // 5:05d}.parquet")
        part = enumerate(rows[start : start + 5], start)
        write_shard(tree / shards[-1], [(row, noise_frames(row, seed)) for seed, row in part])
    (tree / "drops.json").write_text(json.dumps([asdict(drop) for drop in drops]))
    (tree / "dataset.json").write_text(json.dumps({"shards": shards}))
    store = open_store(str(folder / "dataset"))
    store.publish(tree, "")
    return store


@pytest.fixture(scope="session")
def published() -> Callable[..., Store]:
    return publish_rows
