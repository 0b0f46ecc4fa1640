"""Whatever bytes a file has, it becomes a clip of whole frames or a drop, and no worker stays."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay_api import FramePlan
from assay_data.dataset import decode_image
from assay_data.video.isolation import Failure, IsolatedPool
from assay_data.video.prepare import PreparedVideo, Unusable, VideoTask, prepare_video

PLAN = FramePlan(count=4, fps=4.0, sampling="Whole")
KINDS = {
    "a.mp4": {"codec": "libx264", "g": "12"},
    "b.mov": {"codec": "libx265", "pix_fmt": "yuv420p10le"},
    "a.mkv": {"codec": "libx264", "g": "12"},
    "a.webm": {"codec": "libvpx", "deadline": "realtime"},
    "a.avi": {"codec": "mpeg4", "clock": 25},
    "a.ts": {"codec": "libx264", "g": "12"},
}
EXAMPLES = 60

Pool = IsolatedPool[VideoTask, PreparedVideo | Unusable]


@pytest.fixture(scope="module")
def valid(
    timed_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Small valid files, by name."""
    folder = tmp_path_factory.mktemp("valid")
    times = range(0, 1000, 40)
    files = {n: timed_video(folder / n, times, **o).read_bytes() for n, o in KINDS.items()}
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.effect_noise((64, 48), 40).convert("RGB").save(folder / name)
        files[name] = (folder / name).read_bytes()
    return files


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    before = set(multiprocessing.active_children())
    with IsolatedPool(
        prepare_video, workers=1, deadline_seconds=20.0, memory_bytes=3 * 2**29
    ) as pool:
        yield pool
    assert set(multiprocessing.active_children()) <= before


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    name=st.sampled_from([*KINDS, "a.jpg", "a.png", "a.webp"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=12),
    kept=st.one_of(st.just(1.0), st.floats(0.01, 1)),
)
def test_changed_bytes_give_whole_frames_or_a_drop(
    valid: dict[str, bytes],
    pool: Pool,
    name: str,
    flips: list[tuple[float, int]],
    kept: float,
) -> None:
    data = bytearray(valid[name])
    for place, change in flips:
        data[min(int(place * len(data)), len(data) - 1)] ^= change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data[: max(1, int(kept * len(data)))])
        num_before = len(multiprocessing.active_children())
        (outcome,) = pool.map([VideoTask(path, PLAN, None, 4)])

    assert len(multiprocessing.active_children()) <= max(1, num_before)
    if isinstance(outcome, Unusable | Failure):
        assert outcome.detail
        return
    for clip in outcome.clips:
        frames = np.stack([decode_image(image) for image in clip.images])
        assert frames.shape == (len(clip.timestamps_seconds), clip.height, clip.width, 3)
        assert len(frames) in (2, PLAN.count)
        assert list(clip.timestamps_seconds) == sorted(clip.timestamps_seconds)
        assert clip.end_seconds >= clip.timestamps_seconds[-1]
    if not flips and kept == 1.0:
        assert len(outcome.clips) == 1
