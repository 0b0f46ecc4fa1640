"""The media of one row into its frames. Runs in a worker: the files are not to be trusted."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from assay_api import FramePlan
from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.frames import choose_size
from assay_data.video.prepare import (
    PreparedClip,
    PreparedVideo,
    Unusable,
    VideoTask,
    encode_image,
    prepare_video,
)
from assay_data.video.reading import Frame

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pictures that are taken. Pillow would take some videos for pictures that it cannot decode."""
MAX_PICTURE_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded."""


@dataclass(frozen=True, slots=True)
class RowMediaTask:
    """Orders to make one row's frames: of its pictures, in this order, or of its only video."""

    paths: tuple[Path, ...]
    plan: FramePlan


MediaTask = VideoTask | RowMediaTask


def prepare_media(task: MediaTask) -> PreparedVideo | Unusable:
    """Return the clips of a video, or a row's media as one clip, or why there are none."""
    if isinstance(task, VideoTask):
        return prepare_video(task)
    try:
        if len(task.paths) == 1 and not _is_picture(task.paths[0]):
            return prepare_video(VideoTask(task.paths[0], task.plan, None, max_clips=1))
        return _prepare_pictures(task)
    except UnusableVideo as error:
        return Unusable(error.reason, error.detail)
    except OSError as error:
        return Unusable(DropReason.UNREADABLE, error.strerror or str(error))


def _is_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is a picture, not a video."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return False


def _prepare_pictures(task: RowMediaTask) -> PreparedVideo:
    """Take the frames. They carry no times: they are taken to be `1 / fps` apart."""
    sha256 = hashlib.sha256()
    images: list[bytes] = []
    width = height = 0
    for path in task.paths:
        sha256.update(path.read_bytes())
        picture = _open(path)
        if not images:
            try:
                width, height = choose_size(task.plan, *picture.size)
            except ValueError as error:
                raise UnusableVideo(DropReason.ASPECT_RATIO, str(error)) from error
        images.append(encode_image(_fitted(picture, width, height), width, height, task.plan.codec))
    clip = PreparedClip(
        index=0,
        start_seconds=0.0,
        end_seconds=len(images) / task.plan.fps,
        sampled_fps=task.plan.fps,
        timestamps_seconds=tuple(round(i / task.plan.fps, 6) for i in range(len(images))),
        width=width,
        height=height,
        images=tuple(images),
    )
    return PreparedVideo(sha256.hexdigest(), (clip,))


def _open(path: Path) -> Image.Image:
    """Return a picture, upright, in RGB.

    Raises:
        UnusableVideo: it cannot be decoded, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(path, formats=FORMATS)
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise UnusableVideo(
                    DropReason.TOO_LARGE,
                    f"{path.name}: {picture.width}x{picture.height} pixels, at most "
                    f"{MAX_PICTURE_PIXELS} are taken",
                )
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableVideo(DropReason.CORRUPT, f"{path.name}: {error}") from error


def _fitted(picture: Image.Image, width: int, height: int) -> Frame:
    """Return the pixels; a picture of another shape than the first gets black borders."""
    same_shape = abs(picture.width * height - picture.height * width) <= 28 * max(picture.size)
    if not same_shape:
        picture = ImageOps.pad(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)
