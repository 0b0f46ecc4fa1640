"""The media of one row into its frames. Runs in a worker: the files are not to be trusted."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from assay_api import FramePlan
from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.frames import FRAMES_PER_TOKEN_GRID, choose_size
from assay_data.video.image import is_image, read_image
from assay_data.video.prepare import (
    PreparedClip,
    PreparedVideo,
    Unusable,
    VideoTask,
    encode_image,
    prepare_video,
)
from assay_data.video.reading import Frame


@dataclass(frozen=True, slots=True)
class RowMediaTask:
    """Orders to make one row's frames."""

    paths: tuple[Path, ...]
    """Its pictures in this order, its only video, or the frames of that."""
    plan: FramePlan
    is_video: bool = False
    """Whether the row shows one video, not pictures."""


MediaTask = VideoTask | RowMediaTask


def prepare_media(task: MediaTask) -> PreparedVideo | Unusable:
    """Return the clips of a video, or a row's media as one clip, or why there are none."""
    if isinstance(task, VideoTask):
        return prepare_video(task)
    try:
        if len(task.paths) == 1 and (task.is_video or not is_image(task.paths[0])):
            return prepare_video(VideoTask(task.paths[0], task.plan, None, max_clips=1))
        return _prepare_pictures(task)
    except UnusableVideo as error:
        return Unusable(error.reason, error.detail)
    except OSError as error:
        return Unusable(DropReason.UNREADABLE, error.strerror or str(error))


def _prepare_pictures(task: RowMediaTask) -> PreparedVideo:
    """Take the frames. They carry no times: they are taken to be `1 / fps` apart."""
    sha256 = hashlib.sha256()
    images: list[bytes] = []
    width = height = 0
    for path in task.paths:
        sha256.update(path.read_bytes())
        picture = _read(path)
        if not images:
            try:
                width, height = choose_size(task.plan, picture.shape[1], picture.shape[0])
            except ValueError as error:
                raise UnusableVideo(DropReason.ASPECT_RATIO, str(error)) from error
        images.append(encode_image(_fitted(picture, width, height), width, height, task.plan.codec))
    times = [round(i / task.plan.fps, 6) for i in range(len(images))]
    end_seconds = len(images) / task.plan.fps
    if task.is_video and len(images) % FRAMES_PER_TOKEN_GRID:
        images.append(images[-1])  # Frames of a video make tokens in pairs, as of a lone picture.
        times.append(times[-1])
    clip = PreparedClip(
        index=0,
        start_seconds=0.0,
        end_seconds=end_seconds,
        sampled_fps=task.plan.fps,
        timestamps_seconds=tuple(times),
        width=width,
        height=height,
        images=tuple(images),
    )
    return PreparedVideo(sha256.hexdigest(), (clip,))


def _read(path: Path) -> Frame:
    """Return a picture.

    Raises:
        UnusableVideo: it cannot be used; the file is named.
    """
    try:
        return read_image(path)
    except UnusableVideo as error:
        raise UnusableVideo(error.reason, f"{path.name}: {error.detail}") from error


def _fitted(picture: Frame, width: int, height: int) -> Frame:
    """Return the pixels; a picture of another shape than the first gets black borders."""
    rows, columns = picture.shape[:2]
    if abs(columns * height - rows * width) <= 28 * max(columns, rows):
        return picture
    image = Image.fromarray(picture)
    return np.asarray(ImageOps.pad(image, (width, height), Image.Resampling.BICUBIC))
