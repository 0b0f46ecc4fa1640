"""When the frames of a video begin, as its packets say, and whether seeking by that is safe.

Packets are read, not decoded: the whole of a long video takes a moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo

SANE_SECONDS = 1e9
"""Later times come from a container that has none."""
_EXACT_CONTAINERS = ("mov", "matroska")
"""Seeking in others lands near a frame, not on it."""
_VP8_SHOWN = 0x10
"""Bit of a VP8 frame's first byte; frames without it are never shown."""
_H264_TYPE, _H264_IDR = 0x1F, 5
"""Bits with the type of an H.264 unit; the type of a picture that needs no earlier one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a packet says of its frame. Times are in ticks of the stream's clock."""

    pts: int | None
    dts: int | None
    is_key: bool
    """A decoder can start here, or some frames before what it then gets right."""
    is_refresh: bool
    """A key that takes some frames to get right."""
    is_shown: bool
    """False for frames that an edit list leaves out, or that only help to decode others."""

    @classmethod
    def of(cls, packet: "av.Packet", stream: VideoStream) -> Self:
        """Read a packet of the stream."""
        context = stream.codec_context
        hidden = context.name == "vp8" and not bytes(packet)[0] & _VP8_SHOWN
        is_h264_key = packet.is_keyframe and context.name == "h264"
        return cls(
            pts=packet.pts,
            dts=packet.dts,
            is_key=bool(packet.is_keyframe),
            is_refresh=is_h264_key and not _has_idr(packet, context.extradata),
            is_shown=not (hidden or packet.is_discard),
        )


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video in the order in which they are shown."""

    starts_seconds: NDArray[np.float64]
    """When each frame begins, ascending from 0."""
    duration_seconds: float
    """When the last frame ends."""
    ticks: tuple[int, ...] | None
    """The same on the stream's clock, ascending, none twice; None when it has no such clock."""
    num_undecodable: int
    """Packets before the first from which a decoder can start."""
    seeks_exactly: bool
    """Whether a decoder that seeks to the key frame before a frame, then counts, finds it."""

    @classmethod
    def of(cls, marks: list[Mark], stream: VideoStream, container: str) -> Self:
        """Put the packets of a stream, in the order of the file, in the order of time.

        Raises:
            UnusableVideo: there is no frame.
        """
        first_key = next((i for i, mark in enumerate(marks) if mark.is_key), len(marks))
        exact = container.startswith(_EXACT_CONTAINERS)
        shown = _decodable(marks[first_key:], all_timed=exact)
        if not shown:
            raise UnusableVideo(DropReason.CORRUPT, "it has no frame from which to start decoding")
        starts, ticks = _clock(shown, float(stream.time_base or 1), counts=container == "avi")
        times, duration = _from_zero(starts, float(stream.average_rate or 0))
        return cls(
            starts_seconds=times,
            duration_seconds=duration,
            ticks=ticks,
            num_undecodable=first_key,
            seeks_exactly=(
                exact
                and len(shown) == len(marks)
                and ticks is not None
                and _groups_are_closed(shown)
                and not any(mark.is_refresh for mark in shown)
                and (stream.codec_context.has_b_frames or _are_in_order(shown))
            ),
        )


def _decodable(marks: list[Mark], all_timed: bool) -> list[Mark]:
    """Return the packets of frames that are shown, and not before the key frame they start with."""
    start = marks[0].pts if marks else None
    return [
        mark
        for mark in marks
        if mark.is_shown
        and not (all_timed and mark.pts is None)
        and (start is None or mark.pts is None or mark.pts >= start)
    ]


def _clock(
    marks: list[Mark], seconds_per_tick: float, counts: bool
) -> tuple[NDArray[np.float64], tuple[int, ...] | None]:
    """Return when frames begin, in seconds, and in ticks if those tell one frame from another.

    Args:
        marks: of the frames that are shown.
        seconds_per_tick: of the stream's clock.
        counts: the container counts frames in the order of the file, left out ones too, and knows
            nothing of the order of time: each frame that comes out of the decoder is the next.
    """
    ticks = None if counts else _ascending(mark.pts for mark in marks)
    if ticks is not None:
        differ = len(set(ticks)) == len(ticks)
        return np.asarray(ticks) * seconds_per_tick, ticks if differ else None
    counted = _ascending(mark.dts for mark in marks) or (0,) * len(marks)
    return np.asarray(counted) * seconds_per_tick, None


def _ascending(ticks: Iterable[int | None]) -> tuple[int, ...] | None:
    """Return the ticks in ascending order; None if one is missing."""
    known = list(ticks)
    return None if None in known else tuple(sorted(t for t in known if t is not None))


def _from_zero(starts: NDArray[np.float64], fps: float) -> tuple[NDArray[np.float64], float]:
    """Return when frames begin, from 0, and when the last one ends.

    Containers without usable times are taken to run at their average rate.
    """
    gap = 1 / (fps if fps > 0 else 25.0)
    sane = np.isfinite(starts).all() and abs(starts[0]) < SANE_SECONDS
    evenly = np.arange(len(starts), dtype=np.float64) * gap
    times: NDArray[np.float64] = starts - starts[0] if sane and starts[-1] > starts[0] else evenly
    last_gap = float(np.median(np.diff(times))) if len(times) > 1 else gap
    return times, round(float(times[-1]) + last_gap, 6)


def _groups_are_closed(marks: list[Mark]) -> bool:
    """Tell whether no frame is shown on the other side of a key frame than it is stored.

    A decoder that starts at a key frame leaves out the frames that are stored after it and shown
    before it, since they need the frames before: whoever counts from there is off by as many.
    """
    ticks = np.array([mark.pts for mark in marks])
    keys = np.array([mark.is_key for mark in marks])
    latest_before = np.maximum.accumulate(ticks)
    earliest_after = np.minimum.accumulate(ticks[::-1])[::-1]
    return bool(((latest_before <= ticks) & (earliest_after >= ticks))[keys].all())


def _are_in_order(marks: list[Mark]) -> bool:
    """Tell whether frames are stored in the order of time: the decoder does not reorder them."""
    return all((a.pts or 0) < (b.pts or 0) for a, b in pairwise(marks))


def _has_idr(packet: "av.Packet", header: bytes | None) -> bool:
    """Tell whether a packet of H.264, units after their lengths, has a picture that starts anew."""
    data, position = bytes(packet), 0
    num_bytes = (header[4] & 3) + 1 if header and len(header) > 4 and header[0] == 1 else 4
    while position + num_bytes < len(data):
        if data[position + num_bytes] & _H264_TYPE == _H264_IDR:
            return True
        position += num_bytes + int.from_bytes(data[position : position + num_bytes])
    return False
