"""One video file into clips of chosen frames. Runs in a worker: the file is not to be trusted."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from assay_api import FramePlan
from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.frames import (
    FRAMES_PER_TOKEN_GRID,
    MIN_CLIP_SECONDS,
    choose_size,
    choose_timestamps,
    cut_clips,
)
from assay_data.video.image import is_still, read_image
from assay_data.video.reading import Frame, Reader, examine, frames_at, read

JPEG_QUALITY = 95
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "Jpeg": {"quality": JPEG_QUALITY, "subsampling": 0},
    "Png": {},
    "WebP": {"lossless": True, "exact": True},
}
TRUNCATED_SECONDS = 0.5
"""A video that ends this much, and a tenth, before its declared end is truncated."""


@dataclass(frozen=True, slots=True)
class VideoTask:
    """Orders to prepare one file."""

    path: Path
    plan: FramePlan
    clip_seconds: float | None
    max_clips: int


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip's frames, and where in the video they are."""

    index: int
    """Position among the video's clips."""
    start_seconds: float
    end_seconds: float
    sampled_fps: float
    timestamps_seconds: tuple[float, ...]
    width: int
    """Pixels of a frame, as are `height`."""
    height: int
    images: tuple[bytes, ...]
    """Picture files."""


@dataclass(frozen=True, slots=True)
class PreparedVideo:
    """The clips of one file."""

    sha256: str
    """Of the file's bytes, in hexadecimal."""
    clips: tuple[PreparedClip, ...]
    """At least one."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a file has no clips."""

    reason: DropReason
    detail: str


def prepare_video(task: VideoTask) -> PreparedVideo | Unusable:
    """Return the clips of a file, frames chosen, resized and compressed, or why there are none."""
    try:
        clips = (_still(task),) if is_still(task.path) else _moving(task)
        with task.path.open("rb") as file:
            return PreparedVideo(hashlib.file_digest(file, "sha256").hexdigest(), clips)
    except UnusableVideo as error:
        return Unusable(error.reason, error.detail)
    except OSError as error:
        return Unusable(DropReason.UNREADABLE, error.strerror or str(error))


def encode_jpeg(frame: Frame, width: int, height: int) -> bytes:
    """Return the frame as a JPEG file of this size, colours at full resolution."""
    return encode_image(frame, width, height, "Jpeg")


def encode_image(frame: Frame, width: int, height: int, codec: str) -> bytes:
    """Return the frame as a picture file of this size; only `Jpeg` loses anything."""
    image = Image.fromarray(frame)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, codec.upper(), **_SAVE_OPTIONS[codec])
    return file.getvalue()


def _still(task: VideoTask) -> PreparedClip:
    """Return a picture as a clip without length that shows it twice.

    Two frames are the least of which the vision tower makes tokens. That they are two is written
    down here, once: learner, sampler and judge see the same clip, whatever each would make of one.
    """
    frame = read_image(task.path)
    width, height = _size(task.plan, frame)
    return PreparedClip(
        index=0,
        start_seconds=0.0,
        end_seconds=0.0,
        sampled_fps=task.plan.fps,
        timestamps_seconds=(0.0,) * FRAMES_PER_TOKEN_GRID,
        width=width,
        height=height,
        images=(encode_image(frame, width, height, task.plan.codec),) * FRAMES_PER_TOKEN_GRID,
    )


def _moving(task: VideoTask) -> tuple[PreparedClip, ...]:
    """Return the clips of a video."""
    video = examine(task.path)
    return read(video, lambda reader: _clips(reader, task, video.declared_seconds))


def _clips(
    reader: Reader, task: VideoTask, declared_seconds: float | None
) -> tuple[PreparedClip, ...]:
    """Cut the video into clips and take their frames."""
    _check_length(reader, declared_seconds)
    bounds = cut_clips(reader.duration_seconds, task.clip_seconds, task.max_clips)
    clips = tuple(
        _clip(reader, task.plan, index, start, end)
        for index, (start, end) in enumerate(bounds)
        if _num_frames(reader, start, end) >= task.plan.count
    )
    if not clips:
        raise UnusableVideo(
            DropReason.TOO_SHORT,
            f"{len(reader.starts_seconds)} frames in {reader.duration_seconds:g} seconds: a clip "
            f"needs {task.plan.count} frames (frames.count) and {MIN_CLIP_SECONDS} seconds",
        )
    return clips


def _clip(
    reader: Reader, plan: FramePlan, index: int, start_seconds: float, end_seconds: float
) -> PreparedClip:
    """Take one clip's frames."""
    timestamps, fps = choose_timestamps(plan, start_seconds, end_seconds)
    images, width, height = _images(reader, plan, frames_at(reader, timestamps))
    return PreparedClip(
        index=index,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        sampled_fps=fps,
        timestamps_seconds=timestamps,
        width=width,
        height=height,
        images=images,
    )


def _images(
    reader: Reader, plan: FramePlan, indices: Sequence[int]
) -> tuple[tuple[bytes, ...], int, int]:
    """Return the frames as picture files, and their width and height."""
    images: list[bytes] = []
    width = height = 0
    for frame in reader.frames(indices):
        if not images:
            width, height = _size(plan, frame)
        images.append(encode_image(frame, width, height, plan.codec))
    return tuple(images), width, height


def _size(plan: FramePlan, frame: Frame) -> tuple[int, int]:
    """Return width and height of this frame for the model."""
    try:
        return choose_size(plan, frame.shape[1], frame.shape[0])
    except ValueError as error:
        raise UnusableVideo(DropReason.ASPECT_RATIO, str(error)) from error


def _check_length(reader: Reader, declared_seconds: float | None) -> None:
    """Raise UnusableVideo when much of the declared duration is missing."""
    missing = (declared_seconds or 0) - reader.duration_seconds
    if missing > max(TRUNCATED_SECONDS, 0.1 * (declared_seconds or 0)):
        raise UnusableVideo(
            DropReason.TRUNCATED,
            f"it declares {declared_seconds:g} seconds and ends after "
            f"{reader.duration_seconds:g}: copy or download it again",
        )


def _num_frames(reader: Reader, start_seconds: float, end_seconds: float) -> int:
    """Return how many frames begin within the clip."""
    first, last = frames_at(reader, (start_seconds, end_seconds))
    return last - first + (end_seconds >= reader.duration_seconds)
