"""When the frames of a video begin, as its packets say, and whether seeking by that is safe.

Packets are read, not decoded: the whole of a long video takes a moment. A recording to which
another was appended has two clocks, one for each of its parts (`data/assay_data/video/parts.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.marks import Mark
from assay_data.video.parts import Part, Parts, stretches_of

SANE_SECONDS = 1e9
"""Later times come from a container that has none."""
_EXACT_CONTAINERS = ("mov", "matroska")
"""Seeking in others lands near a frame, not on it."""
_USUAL_FPS = 25.0
"""Of files that say nothing of it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video in the order in which they are shown."""

    starts_seconds: NDArray[np.float64]
    """When each frame begins, ascending from 0."""
    duration_seconds: float
    """When the last frame ends."""
    begin_seconds: float
    """When the first frame begins by the container's clock; 0 when that has no usable times."""
    ticks: tuple[int, ...] | None
    """`starts_seconds` on the stream's clock, ascending, none twice, those of later parts shifted;
    None when it has no such clock."""
    parts: tuple[Part, ...]
    """In the order of the file; one, unless recordings were put one after another."""
    seeks_exactly: bool
    """Whether a decoder that seeks to the key frame before a frame, then counts, finds it."""

    @classmethod
    def of(
        cls, marks: Sequence[Mark], stream: VideoStream, container: "av.ContainerFormat"
    ) -> Self:
        """Put the packets of a stream, in the order of the file, in the order of time.

        Raises:
            UnusableVideo: there is no frame, or the clock starts anew where it may not.
        """
        seconds_per_tick = float(stream.time_base or 1)
        exact = container.name.startswith(_EXACT_CONTAINERS)
        fps = float(stream.average_rate or 0) or _USUAL_FPS
        stretches = stretches_of(marks, seconds_per_tick, container)
        joined = Parts.of(stretches, exact, round(1 / fps / seconds_per_tick))
        shown = joined.shown
        if not shown:
            raise UnusableVideo(DropReason.CORRUPT, "it has no frame from which to start decoding")
        counts, delay = container.name == "avi", stream.codec_context.reorder_depth
        starts, ticks = _clock(shown, seconds_per_tick, counts, delay)
        times, duration, begin = _from_zero(starts, 1 / fps)
        return cls(
            starts_seconds=times,
            duration_seconds=duration,
            begin_seconds=begin,
            ticks=ticks,
            parts=joined.parts,
            seeks_exactly=(
                exact
                and len(shown) == len(marks)
                and ticks is not None
                and _groups_are_closed(shown)
                and (not container.name.startswith("mov") or _keys_are_found(shown))
                and not any(mark.is_refresh for mark in shown)
                and (stream.codec_context.has_b_frames or _are_in_order(shown))
            ),
        )


def _clock(
    marks: Sequence[Mark], seconds_per_tick: float, counts: bool, delay: int
) -> tuple[NDArray[np.float64], tuple[int, ...] | None]:
    """Return when frames begin, in seconds, and in ticks if those tell one frame from another.

    Args:
        marks: of the frames that are shown.
        seconds_per_tick: of the stream's clock.
        counts: the container counts frames in the order of the file, left out ones too, and knows
            nothing of the order of time: each frame that comes out of the decoder is the next.
        delay: frames that the decoder takes in before the first comes out.
    """
    ticks = None if counts else _ascending(mark.pts for mark in marks)
    if ticks is not None:
        differ = len(set(ticks)) == len(ticks)
        return np.asarray(ticks) * seconds_per_tick, ticks if differ else None
    decoded = _filled([mark.dts for mark in marks])
    return (_shown(decoded, delay) if counts else decoded) * seconds_per_tick, None


def _ascending(ticks: Iterable[int | None]) -> tuple[int, ...] | None:
    """Return the ticks in ascending order; None if one is missing."""
    known = list(ticks)
    return None if None in known else tuple(sorted(t for t in known if t is not None))


def _filled(ticks: Sequence[int | None]) -> NDArray[np.float64]:
    """Return ascending ticks, missing ones evenly between others; all 0 where too few are known."""
    places = [place for place, tick in enumerate(ticks) if tick is not None]
    if len(places) < 2:
        return np.zeros(len(ticks))
    known = np.sort([tick for tick in ticks if tick is not None])
    gap = (known[-1] - known[0]) / (places[-1] - places[0])
    before = known[0] - gap * np.arange(places[0], 0, -1)
    after = known[-1] + gap * np.arange(1, len(ticks) - places[-1])
    between = np.interp(np.arange(places[0], places[-1] + 1), places, known)
    return np.concatenate([before, between, after])


def _shown(decoded: NDArray[np.float64], delay: int) -> NDArray[np.float64]:
    """Return when frames come out of a decoder to which packets are given at these times.

    The last ones come out when there are no more packets; they are taken to follow evenly.
    """
    if not 0 < delay < len(decoded):
        return decoded
    gap = float(np.median(np.diff(decoded)))
    return np.concatenate([decoded[delay:], decoded[-1] + gap * np.arange(1, delay + 1)])


def _from_zero(
    starts: NDArray[np.float64], usual_gap: float
) -> tuple[NDArray[np.float64], float, float]:
    """Return when frames begin, from 0, when the last one ends, and what 0 is on the clock.

    Containers without usable times are taken to run at their average rate.
    """
    sane = np.isfinite(starts).all() and abs(starts[0]) < SANE_SECONDS
    evenly = np.arange(len(starts), dtype=np.float64) * usual_gap
    runs = sane and starts[-1] > starts[0]
    times: NDArray[np.float64] = starts - starts[0] if runs else evenly
    last_gap = float(np.median(np.diff(times))) if len(times) > 1 else usual_gap
    return times, round(float(times[-1]) + last_gap, 6), float(starts[0]) if runs else 0.0


def _groups_are_closed(marks: Sequence[Mark]) -> bool:
    """Tell whether no frame is shown on the other side of a key frame than it is stored.

    A decoder that starts at a key frame leaves out the frames that are stored after it and shown
    before it, since they need the frames before: whoever counts from there is off by as many.
    """
    ticks = np.array([mark.pts for mark in marks])
    keys = np.array([mark.is_key for mark in marks])
    latest_before = np.maximum.accumulate(ticks)
    earliest_after = np.minimum.accumulate(ticks[::-1])[::-1]
    return bool(((latest_before <= ticks) & (earliest_after >= ticks))[keys].all())


def _keys_are_found(marks: Sequence[Mark]) -> bool:
    """Tell whether each key frame is the last that is decoded by the time at which it is shown.

    In MP4 and MOV whoever seeks to a frame's time gets that one. Another is the last where key
    frames follow each other closer than the decoder's delay.
    """
    keys = [mark for mark in marks if mark.is_key]
    return all(a.pts is None or b.dts is None or b.dts > a.pts for a, b in pairwise(keys))


def _are_in_order(marks: Sequence[Mark]) -> bool:
    """Tell whether frames are stored in the order of time: the decoder does not reorder them."""
    return all((a.pts or 0) < (b.pts or 0) for a, b in pairwise(marks))
