"""Image files as videos of one frame. Run it where a crash does no harm.

What a file is, its first bytes say: its name may be wrong.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.reading import Frame

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_SIGNATURE_BYTES = 16


def is_image(path: Path) -> bool:
    """Tell whether a file begins as a JPEG, PNG, WebP or BMP picture does."""
    with path.open("rb") as file:
        start = file.read(_SIGNATURE_BYTES)
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
    )


def read_image(path: Path) -> Frame:
    """Return the picture, uint8 [height, width, 3], RGB, turned upright as its EXIF data says.

    Raises:
        UnusableVideo: it is damaged, an animation, or has too many pixels to be unpacked safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
                    raise UnusableVideo(
                        DropReason.UNSUPPORTED, "it is an animation: make a video out of it"
                    )
                return _rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusableVideo(DropReason.TOO_MANY_PIXELS, str(error)) from error
    except (OSError, EOFError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UnusableVideo(DropReason.CORRUPT, f"Pillow: {error}") from error


def _rgb(image: Image.Image) -> Frame:
    """Return the pixels; 16 bits are rounded down to 8, what is transparent becomes black."""
    if image.mode.startswith("I"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
