"""What must be known of a video to make a standard one of it. Run it where a crash does no harm."""

from dataclasses import dataclass
from pathlib import Path

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.colours import Colours
from assay_data.video.image import is_still
from assay_data.video.orientation import Orientation
from assay_data.video.prepare import Unusable
from assay_data.video.reading import describe, examine


@dataclass(frozen=True, slots=True)
class Look:
    """What our own reader finds in a video."""

    track: int
    """FFmpeg's number of the stream that is the video."""
    seconds: float
    """From the first frame to the end of the last."""
    is_joined: bool
    """Whether recordings were put one after another: packets between them look damaged."""
    orientation: Orientation
    colours: Colours


def look_at(path: Path) -> Look | Unusable:
    """Return what a file holds, or why it cannot become a standard video."""
    try:
        if is_still(path):
            detail = "it is a picture, no video: ingest takes pictures as they are"
            return Unusable(DropReason.NOT_A_VIDEO, detail)
        video = examine(path)
        info, timeline = describe(video), video.timeline
        is_joined = len(timeline.parts) > 1
        seconds = timeline.duration_seconds
        return Look(video.track, seconds, is_joined, info.orientation, info.colours)
    except UnusableVideo as error:
        return Unusable(error.reason, error.detail)
    except OSError as error:
        return Unusable(DropReason.UNREADABLE, error.strerror or str(error))
