"""What a standard video is, the command that makes one, and the check that it was made."""

from dataclasses import asdict, dataclass
from pathlib import Path

from assay_api import InvalidInput
from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.colours import SAME_LOOK
from assay_data.video.look import Look
from assay_data.video.reading import examine

_FORM = "HEVC 4:2:0 with 10 bits, BT.709 in limited range, progressive, square pixels, no sound"
_MISSING_SECONDS = 0.5
"""A standard video that is this much, and a tenth, shorter or longer than its source is wrong."""


@dataclass(frozen=True, slots=True)
class Standard:
    """What every video becomes: HEVC, yuv420p10le, without sound. Defaults: GenBuster-200K's.

    Raises:
        InvalidInput: a value is out of range.
    """

    width_pixels: int = 1024
    height_pixels: int = 1024
    """The picture is stretched to width and height; nothing is cut off or filled in."""
    seconds: float = 5.0
    """Longer videos are cut off; shorter ones stay short."""
    fps: float = 24.0
    timeout_seconds: float = 600.0
    """A video that takes longer is dropped."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("width_pixels", "height_pixels"):
            pixels = getattr(self, name)
            if pixels % 2 or not 32 <= pixels <= 8192:
                raise InvalidInput(f"{name} {pixels}: must be even, from 32 to 8192")
        for name, most in (("seconds", 86_400), ("fps", 240), ("timeout_seconds", 86_400)):
            if not 0 < getattr(self, name) <= most:
                raise InvalidInput(f"{name} {getattr(self, name)}: must be above 0, at most {most}")

    @property
    def num_frames(self) -> int:
        """Frames of a video that is long enough."""
        return max(1, round(self.seconds * self.fps))

    @property
    def look(self) -> dict[str, object]:
        """All that decides what a video becomes, as plain values."""
        values = {name: value for name, value in asdict(self).items() if name != "timeout_seconds"}
        return values | {"form": _FORM}


def ffmpeg_command(
    ffmpeg: str, source: Path, target: Path, standard: Standard, look: Look
) -> list[str]:
    """Return the command that standardises one file.

    Its length is a number of frames: a time would count from the start of the file, where sound may
    be before the picture.
    """
    filters = (
        "bwdif=mode=send_frame:deint=interlaced",  # Only frames that are marked as interlaced.
        *look.orientation.ffmpeg_filters,
        *look.colours.filters(standard.width_pixels, standard.height_pixels),
        *SAME_LOOK,
        f"fps={standard.fps:g}",
    )
    strict = ("-max_error_rate", "0") if look.is_joined else ("-xerror",)
    return [
        *(ffmpeg, "-nostdin", "-v", "error", *strict, "-y"),
        *("-noautorotate", "-i", f"file:{source}"),
        *(
            "-map",
            f"0:{look.track}",
            "-an",
            "-sn",
            "-dn",
            "-map_metadata",
            "-1",
            "-map_chapters",
            "-1",
        ),
        *("-frames:v", str(standard.num_frames), "-vf", ",".join(filters)),
        *("-c:v", "libx265", "-x265-params", "log-level=error"),
        *("-bsf:v", "setts=pts=PTS-STARTPTS:dts=DTS-STARTPTS"),
        *("-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", "-f", "mp4", f"file:{target}"),
    ]


def check_made(path: Path, standard: Standard, look: Look) -> None:
    """Check a file that ffmpeg wrote: a track, frames, and the length that our reader found.

    Raises:
        UnusableVideo: it is not what its source should have become.
        OSError: there is no such file.
    """
    path.stat()
    expected = min(standard.num_frames / standard.fps, look.seconds)
    try:
        made = examine(path).timeline.duration_seconds
    except UnusableVideo as error:
        if look.seconds * standard.fps < 1:
            detail = f"{look.seconds:g} seconds are no frame at {standard.fps:g} frames a second"
            raise UnusableVideo(DropReason.TOO_SHORT, detail) from error
        raise UnusableVideo(
            DropReason.CORRUPT, f"ffmpeg made no frame of {look.seconds:g} seconds"
        ) from error
    if abs(made - expected) > max(_MISSING_SECONDS, 0.1 * expected):
        raise UnusableVideo(
            DropReason.CORRUPT,
            f"it lasts {look.seconds:g} seconds by its packets, of which ffmpeg made {made:g} "
            f"instead of {expected:g}: its clock or its data are damaged",
        )
