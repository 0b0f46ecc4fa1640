"""How long a file says that its picture is, so that one that ends too early is noticed."""

import re

import av
from av.video.stream import VideoStream

from assay_data.video.parts import has_loose_clock

_TAGGED = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""As Matroska files have it for each stream."""
_STATISTICS = "_STATISTICS_TAGS"
"""Of a Matroska stream whose tags were written by mkvmerge."""


def declared_seconds(
    container: "av.container.InputContainer", stream: VideoStream, begin_seconds: float
) -> float | None:
    """Return how long the picture is said to be, from its first frame on; None: that isn't said.

    MP4 and MOV with a table of their samples say a length, mkvmerge too. All others say an end, on
    the clock by which the first frame may begin late: Matroska, WebM, AVI, WMV, and fragmented MP4
    with an index. MPEG streams say nothing: FFmpeg guesses by their first and last times.
    """
    if has_loose_clock(container.format):
        return None
    said, is_length = None, False
    if stream.duration and stream.time_base:
        said = float(stream.duration * stream.time_base)
        is_length = container.format.name.startswith("mov") and stream.frames > 0
    elif tagged := _TAGGED.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tagged.groups()
        said = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        is_length = _STATISTICS in stream.metadata
    elif container.duration and len(container.streams) == 1:
        said = float(container.duration / av.time_base)
    if said is None or is_length:
        return said
    return said - max(begin_seconds, 0.0)
