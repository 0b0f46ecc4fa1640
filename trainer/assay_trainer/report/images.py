"""Pictures as JPEG data URIs, each kept once however often it is shown."""

import base64
import hashlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE_PIXELS = 224
_QUALITY = 80


class FrameBank:
    """Collects frames for the page."""

    def __init__(self) -> None:
        """Start empty."""
        self.uris: dict[str, str] = {}

    def add(self, frames: NDArray[np.uint8]) -> tuple[str, ...]:
        """Take the frames of a clip and return their keys, equal for equal frames.

        Args:
            frames: RGB, axes time, height, width, colour.
        """
        return tuple(self._add(frame) for frame in frames)

    def add_jpeg(self, image: bytes) -> str:
        """Take a JPEG file as it is and return its key."""
        key = hashlib.sha256(image).hexdigest()[:16]
        self.uris[key] = _data_uri(image)
        return key

    def _add(self, frame: NDArray[np.uint8]) -> str:
        key = hashlib.sha256(repr(frame.shape).encode() + frame.tobytes()).hexdigest()[:16]
        if key not in self.uris:
            self.uris[key] = _data_uri(_small_jpeg(frame))
        return key


def _small_jpeg(frame: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(frame)
    image.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _data_uri(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()
