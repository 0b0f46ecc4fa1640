"""Synthetic videos: a shape moves over a soft background; generators leave their artefacts.

The same attributes that are rendered are told to the lessons, so that every clip comes with texts
about what can be seen in it.
"""

import math
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from assay_api import StoreError
from assay_api.dataset import SyntheticSource
from assay_api.digest import spec_digest
from assay_data.atomic import world_errors, write_json
from assay_data.lessons import COLORS, DIRECTIONS, SHAPES, Attributes, lessons
from assay_data.sources.folders import LESSONS
from assay_data.video.isolation import Failure, IsolatedPool

COLOR_RGB = dict(
    zip(
        COLORS,
        ((220, 50, 40), (40, 200, 60), (50, 80, 230), (230, 220, 60), (240, 240, 240)),
        strict=True,
    )
)
DIRECTION_XY = dict(zip(DIRECTIONS, ((-1, 0), (1, 0), (0, -1), (0, 1)), strict=True))
GENERATORS = ("grid", "flicker")
CELL_PIXELS = 4
"""Side of a cell of the checkerboard that `grid` leaves."""
FLICKER_SECONDS = 0.25
"""Brightness of `flicker` jumps this often: frames sampled at 4 per second see each jump."""
RENDER_DEADLINE_SECONDS = 600.0

_X265 = {
    "preset": "ultrafast",
    "crf": "14",
    "x265-params": "log-level=none:pools=none:frame-threads=1:no-wpp=1",
}

_BT601 = np.array(
    [
        [0.299 * 876, -0.168736 * 896, 0.5 * 896],
        [0.587 * 876, -0.331264 * 896, -0.418688 * 896],
        [0.114 * 876, 0.5 * 896, -0.081312 * 896],
    ],
    dtype=np.float32,
)
"""From R, G, B in [0, 1] to Y, Cb, Cr in steps of 10 bits."""


@dataclass(frozen=True, slots=True)
class RenderTask:
    """Orders to render one video."""

    path: Path
    seen: Attributes
    source: SyntheticSource
    seed: str


def render(seen: Attributes, source: SyntheticSource, rng: random.Random) -> NDArray[np.uint8]:
    """Return the frames of a video with these attributes, [time, height, width, 3], RGB.

    Sizes and speeds are shares of the width; the cells of the checkerboard are 4 pixels. The shape
    leaves on one side and comes back on the other.
    """
    width = source.width_pixels
    noise = np.random.default_rng(rng.getrandbits(64))
    times = np.arange(round(source.seconds * source.fps)) / source.fps
    shape = _shape_masks(seen, times, width, rng)
    frames = np.where(
        shape[..., None],
        np.array(COLOR_RGB[seen.color], dtype=np.float32),
        _background(width, rng)[None],
    )
    if seen.texture == "gridded":
        cells = np.add.outer(np.arange(width) // CELL_PIXELS, np.arange(width) // CELL_PIXELS) % 2
        frames += ((24 + 12 * rng.random()) * (cells * 2 - 1)).astype(np.float32)[None, ..., None]
    if seen.light == "flickering":
        frames *= _brightness(times, rng)[:, None, None, None]
    frames += 4 * noise.standard_normal(frames.shape, dtype=np.float32)
    return frames.clip(0, 255).astype(np.uint8)


def write_video(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Write frames, [time, height, width, 3], as HEVC, 10 bits, 4:2:0; the same bytes every time.

    Raises:
        ValueError: height or width is odd.
        StoreError: the disk is full or not writable.
    """
    with world_errors(path, "cannot write a video"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx265", rate=rate, options=dict(_X265))
            stream.pix_fmt = "yuv420p10le"
            stream.height, stream.width = frames.shape[1:3]
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(_yuv420p10(frame), format=stream.pix_fmt)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


def write_synthetic(
    source: SyntheticSource, folder: Path, workers: int, progress: Callable[[int, int], None]
) -> None:
    """Write real/ and fake/GENERATOR/ with videos, and last lessons.json about each.

    Raises:
        StoreError: the disk is full or not writable.
    """
    tasks = [_task(source, folder, index) for index in range(source.num_videos)]
    with IsolatedPool(
        render_video, workers=workers, deadline_seconds=RENDER_DEADLINE_SECONDS
    ) as pool:
        for done, outcome in enumerate(pool.map(tasks), start=1):
            if isinstance(outcome, Failure):
                raise StoreError(
                    f"cannot render {tasks[done - 1].path}: {outcome.detail}; when that is mended, "
                    "run it again: rendering starts over"
                )
            progress(done, len(tasks))
    entries = {
        task.path.relative_to(folder).as_posix(): {
            "attributes": asdict(task.seen),
            "examples": [
                asdict(example)
                for example in lessons(task.seen, random.Random(f"{task.seed}/lessons"))
            ],
        }
        for task in tasks
    }
    with world_errors(folder / LESSONS, "cannot write the lessons"):
        write_json(folder / LESSONS, entries)


def render_video(task: RenderTask) -> None:
    """Render and write one video."""
    frames = render(task.seen, task.source, random.Random(f"{task.seed}/frames"))
    write_video(task.path, frames, task.source.fps)


def rendered_folder(
    source: SyntheticSource, work: Path, workers: int, progress: Callable[[int, int], None]
) -> Path:
    """Return a folder in `work` that holds the synthetic videos, rendered unless they are there."""
    folder = work / f"synthetic-{spec_digest(source)[:16]}"
    if not (folder / LESSONS).is_file():
        if folder.exists():
            shutil.rmtree(folder)
        write_synthetic(source, folder, workers, progress)
    return folder


def _yuv420p10(frame: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the three planes of a frame one below the other, [1.5 height, width].

    BT.601, limited range. FFmpeg's own conversion reads beyond lines whose width is not a multiple
    of 16, so its result differs from run to run.
    """
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"a frame of {width}x{height} pixels: both must be even")
    yuv = (frame.astype(np.float32) / 255) @ _BT601 + np.array([64, 512, 512], dtype=np.float32)
    chroma = yuv[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    rows = (height // 2, width)
    planes = (yuv[..., 0], chroma.transpose(2, 0, 1).reshape(rows))
    picture: NDArray[np.uint16] = np.concatenate(planes).round().astype(np.uint16)
    return picture


def _task(source: SyntheticSource, folder: Path, index: int) -> RenderTask:
    """Decide what video number `index` shows: real and fake in turn, generators in turn."""
    seed = f"{source.seed}/{index}"
    rng = random.Random(f"{seed}/attributes")
    generator = GENERATORS[index // 2 % 2] if index % 2 else None
    number = f"{index // 2:04d}" if generator is None else f"{index // 4:04d}"
    place = "real" if generator is None else f"fake/{generator}"
    seen = Attributes(
        color=rng.choice(COLORS),
        shape=rng.choice(SHAPES),
        direction=rng.choice(DIRECTIONS),
        texture="gridded" if generator == "grid" else "smooth",
        light="flickering" if generator == "flicker" else "steady",
    )
    return RenderTask(folder / place / f"{number}.mp4", seen, source, seed)


def _background(width: int, rng: random.Random) -> NDArray[np.float32]:
    """Return soft waves in a soft colour, [width, width, 3]."""
    turns = 112 / width * np.arange(width)
    waves = 20 * np.sin(turns / rng.uniform(10, 30) + rng.uniform(0, 2 * math.pi))
    waves = waves[None, :] + 20 * np.cos(turns / rng.uniform(10, 30))[:, None]
    tint = np.array([rng.uniform(0.8, 1.2) for _ in range(3)])
    background: NDArray[np.float32] = ((rng.uniform(70, 150) + waves)[..., None] * tint).astype(
        np.float32
    )
    return background


def _shape_masks(
    seen: Attributes, times: NDArray[np.float64], width: int, rng: random.Random
) -> NDArray[np.bool_]:
    """Return where the shape is, [time, width, width]."""
    dx, dy = DIRECTION_XY[seen.direction]
    speed = rng.uniform(0.054, 0.107) * width
    radius = rng.uniform(0.107, 0.179) * width
    pixels = np.arange(width)
    x = _around(pixels - (rng.uniform(0.31, 0.67) * width + dx * speed * times[:, None]), width)
    y = _around(pixels - (rng.uniform(0.31, 0.67) * width + dy * speed * times[:, None]), width)
    x, y = np.abs(x)[:, None, :], np.abs(y)[:, :, None]
    if seen.shape == "disc":
        return x**2 + y**2 < radius**2
    if seen.shape == "bar":
        return (x < 1.6 * radius) & (y < 0.4 * radius)
    return (x < radius) & (y < radius)


def _around(distance: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the shortest signed distance on a circle of this circumference."""
    return (distance + width / 2) % width - width / 2


def _brightness(times: NDArray[np.float64], rng: random.Random) -> NDArray[np.float32]:
    """Return the factor of each frame: up and down in turn, by about 0.18."""
    steps = (times / FLICKER_SECONDS + 1e-6).astype(int)
    jumps = [0.18 * rng.uniform(0.7, 1.3) * (1 if i % 2 else -1) for i in range(steps[-1] + 1)]
    factors: NDArray[np.float32] = (1 + np.array(jumps)[steps]).astype(np.float32)
    return factors
