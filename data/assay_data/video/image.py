"""Image files as frames: the one reader of pictures. Run it where a crash does no harm.

What a file is, its first bytes say: its name may be wrong.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.reading import Frame

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_SIGNATURE_BYTES = 16
_SEQUENCES = ("PNG", "WEBP", "GIF", "TIFF")
"""Formats of which one file may hold several pictures that are meant to be seen. Not JPEG: what
phones add to it is the same scene again."""


def is_image(path: Path) -> bool:
    """Tell whether a file begins as a JPEG, PNG, WebP, BMP, GIF or TIFF picture does."""
    with path.open("rb") as file:
        start = file.read(_SIGNATURE_BYTES)
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or start.startswith((b"II*\0", b"MM\0*"))
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
    )


def is_still(path: Path) -> bool:
    """Tell whether a file is a picture to `read_image`; a GIF that moves is a video."""
    if not is_image(path):
        return False
    try:
        with Image.open(path, formats=("GIF",)) as image:
            return not getattr(image, "is_animated", False)
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError):
        return True


def read_image(path: Path) -> Frame:
    """Return the picture, uint8 [height, width, 3], RGB, turned upright as its EXIF data says.

    Raises:
        UnusableVideo: it is damaged, an animation, of a depth that has no one meaning in 8 bits, or
            has too many pixels to be unpacked safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.format in _SEQUENCES and getattr(image, "n_frames", 1) > 1:
                    raise UnusableVideo(
                        DropReason.UNSUPPORTED,
                        "it is an animation, or has several pages: make a video out of it, or save "
                        "the one picture that is meant",
                    )
                return _rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusableVideo(DropReason.TOO_MANY_PIXELS, str(error)) from error
    except (OSError, EOFError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UnusableVideo(DropReason.CORRUPT, f"Pillow: {error}") from error


def _rgb(image: Image.Image) -> Frame:
    """Return the pixels; 16 bits are rounded down to 8, what is transparent becomes black."""
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UnusableVideo(
            DropReason.UNSUPPORTED,
            f"its pixels are 32-bit numbers (mode {image.mode}), of which nothing says what is "
            "white: save it with 8 or 16 bits a channel",
        )
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
