"""The pictures of a clip: compressed files to frames, and how much memory those take."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_COLORS = 3
_UNREADABLE = (OSError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, are cut short, or would not fit in memory."""


def decode_image(image: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a picture file, [height, width, 3], RGB."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def decode_frames(images: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return the frames of a clip, [time, height, width, 3], RGB, read-only.

    Raises:
        ValueError: a frame cannot be decoded, or they are not of one size.
    """
    frames = np.empty((len(images), *_size(images), _COLORS), dtype=np.uint8)
    for index, image in enumerate(images):
        try:
            frame = decode_image(image)
        except _UNREADABLE as error:
            raise ValueError(f"frame {index} cannot be decoded: {error}") from error
        if frame.shape != frames.shape[1:]:
            raise ValueError(
                f"frame {index} has {frame.shape[1]}x{frame.shape[0]} pixels, the first one "
                f"{frames.shape[2]}x{frames.shape[1]}: the frames of a clip are of one size"
            )
        frames[index] = frame
    frames.flags.writeable = False
    return frames


def frames_bytes(images: Sequence[bytes]) -> int:
    """Return how many bytes the decoded frames will take; nothing is decoded.

    Raises:
        ValueError: the first one is no picture.
    """
    height, width = _size(images)
    return len(images) * height * width * _COLORS


def _size(images: Sequence[bytes]) -> tuple[int, int]:
    """Return height and width of the first picture, as its file says; without one, 0 and 0."""
    if not images:
        return 0, 0
    try:
        with Image.open(io.BytesIO(images[0])) as picture:
            return picture.height, picture.width
    except _UNREADABLE as error:
        raise ValueError(f"frame 0 is no picture: {error}") from error
