"""How stored pictures must be turned and mirrored to be upright: one answer for every reader.

A container (MP4, MOV, Matroska, WebM) or a message in the stream (H.264 and HEVC, in any container)
gives each frame a display matrix. FFmpeg decodes both to the same side data of a frame.
"""

import struct
from dataclasses import dataclass
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo

_MATRIX = struct.Struct("=9i")
_SLANT = 0.02
"""A matrix whose smaller entries are at most this share of the larger ones is taken as even:
about one degree, what `ffmpeg` allows too."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """What is done to a stored picture, in this order.

    Example:
        >>> Orientation.of_matrix((0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
        Orientation(is_transposed=True, is_flipped_x=True, is_flipped_y=False)
    """

    is_transposed: bool = False
    """Rows become columns: the upper left corner stays."""
    is_flipped_x: bool = False
    """Left and right change places."""
    is_flipped_y: bool = False
    """Top and bottom change places."""

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> Self:
        """Return what a display matrix means, read as the `ffmpeg` program does.

        Args:
            matrix: nine numbers; a pixel at (x, y) is shown at `(m[0] x + m[3] y, m[1] x + m[4] y)`
                but for a shift. Only their signs and which are zero matter.

        Raises:
            UnusableVideo: it turns by another angle than 90, 180 or 270 degrees.

        Source:
            `av_display_rotation_get` of libavutil/display.h, and `configure_input_video_filter` of
            fftools/ffmpeg_filter.c, FFmpeg 7.1.
        """
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
        if max(abs(b), abs(c)) <= _SLANT * straight:
            return cls(False, a < 0, d < 0)
        if max(abs(a), abs(d)) <= _SLANT * crossed:
            return cls(True, c < 0, b < 0)
        if not any((a, b, c, d)):
            return cls()
        raise UnusableVideo(
            DropReason.UNSUPPORTED,
            "its pictures are shown at an angle that is no multiple of 90 degrees: turn them for "
            "good with `ffmpeg -i FILE NEW.mp4`",
        )

    @classmethod
    def of_frame(cls, frame: "av.VideoFrame") -> Self | None:
        """Return how a decoded frame must be turned; None: as the one shown before it.

        A container says it of every frame, a stream where something changes.

        Raises:
            UnusableVideo: it is at an odd angle, or container and stream contradict each other.
        """
        data = [frame.side_data[i] for i in range(len(frame.side_data))]
        matrices = [bytes(one) for one in data if one.type.name == "DISPLAYMATRIX"]
        ways = {cls.of_matrix(_MATRIX.unpack(matrix)) for matrix in matrices}
        if len(ways) > 1:
            raise UnusableVideo(
                DropReason.UNSUPPORTED,
                "its container and its stream say different orientations: keep the container's "
                "with `ffmpeg -i FILE -c copy -bsf:v filter_units=remove_types=6 NEW.mp4` (39 for "
                "HEVC)",
            )
        return ways.pop() if ways else None

    @property
    def is_turn(self) -> bool:
        """Whether turning is enough: nothing is mirrored."""
        return not (self.is_transposed ^ self.is_flipped_x ^ self.is_flipped_y)

    @property
    def ffmpeg_filters(self) -> tuple[str, ...]:
        """The same as filters for `ffmpeg -noautorotate -vf`."""
        steps = (
            (self.is_transposed, "transpose=cclock_flip"),
            (self.is_flipped_x, "hflip"),
            (self.is_flipped_y, "vflip"),
        )
        return tuple(name for wanted, name in steps if wanted)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture as it is shown, [height, width, 3]."""
        turned = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        y, x = (-1 if flip else 1 for flip in (self.is_flipped_y, self.is_flipped_x))
        return np.ascontiguousarray(turned[::y, ::x])
