from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import clip_row, publish_rows

from assay_api import Dataset
from assay_data.dataset.shards import ClipRow
from assay_data.store import Store


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


@pytest.fixture(scope="session")
def published() -> Callable[..., Store]:
    return publish_rows
