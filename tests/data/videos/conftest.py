import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from assay_api import FramePlan
from assay_data.video.isolation import Failure, IsolatedPool
from assay_data.video.prepare import PreparedVideo, Unusable, VideoTask, prepare_video
from assay_data.video.standardise import find_ffmpeg

SIDE = 64
X265 = "log-level=none:pools=none:frame-threads=1"


def picture_of(number: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Return a picture that shows a number of 16 bits as 4 x 4 light and dark squares."""
    bits = np.array([(number >> bit) & 1 for bit in range(16)], dtype=np.uint8).reshape(4, 4)
    squares = np.kron(bits, np.ones((side // 4, side // 4), dtype=np.uint8)) * 200 + 28
    return np.repeat(squares[..., None], 3, axis=2)


def number_in(frame: NDArray[np.uint8]) -> int:
    """Return the number that a picture shows, read from the middles of its squares."""
    height, width = frame.shape[0] // 4, frame.shape[1] // 4
    light = frame.mean(axis=2)
    squares = light.reshape(4, height, 4, width)[:, height // 4 : -height // 4]
    bits = squares[..., width // 4 : -width // 4].mean(axis=(1, 3)) > 128
    return sum(int(bit) << place for place, bit in enumerate(bits.ravel()))


def write_timed(
    path: Path,
    milliseconds: Sequence[int] = tuple(range(0, 3000, 40)),
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    side: int = SIDE,
    clock: int = 1000,
    **options: str,
) -> Path:
    """Write a video of which each frame shows the millisecond at which it begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "libx265":
        options["x265-params"] = f"{X265}:{options.get('x265-params', '')}".rstrip(":")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = side
        stream.pix_fmt = pix_fmt
        stream.bit_rate = 2_000_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        for time in milliseconds:
            picture = av.VideoFrame.from_ndarray(picture_of(time % 2**16, side), format="rgb24")
            picture.pts, picture.time_base = time * clock // 1000, Fraction(1, clock)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def ffmpegs_numbers(path: Path, *options: object, side: int = SIDE) -> list[int]:
    """Return the numbers in all frames as the `ffmpeg` program shows them, at their own rate."""
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", path, *options]
    raw = ("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    done = subprocess.run([*map(str, command), *raw], check=True, capture_output=True)
    frames = np.frombuffer(done.stdout, dtype=np.uint8).reshape(-1, side, side, 3)
    return [number_in(frame) for frame in frames]


def outcomes_of(
    paths: Sequence[Path], plan: FramePlan, **limits: float
) -> list[PreparedVideo | Unusable | Failure]:
    """Prepare files as `assay data ingest` does, in a worker of their own."""
    bounds = {"deadline_seconds": 60.0} | limits
    memory = int(bounds.pop("memory_bytes", 4 * 2**30))
    tasks = [VideoTask(path, plan, None, 64) for path in paths]
    with IsolatedPool(prepare_video, workers=1, memory_bytes=memory, **bounds) as pool:
        return list(pool.map(tasks))


@pytest.fixture(scope="session")
def timed_video() -> Callable[..., Path]:
    return write_timed


@pytest.fixture(scope="session")
def shown() -> Callable[[NDArray[np.uint8]], int]:
    return number_in


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    return run_ffmpeg


@pytest.fixture(scope="session")
def shown_by_ffmpeg() -> Callable[..., list[int]]:
    return ffmpegs_numbers


@pytest.fixture(scope="session")
def prepared() -> Callable[..., list[PreparedVideo | Unusable | Failure]]:
    return outcomes_of
