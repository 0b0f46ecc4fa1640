"""Recordings put one after another in one file: each part has a clock of its own.

MPEG transport streams (TS, M2TS) may be joined as they are: players go on with the next part where
the one before ended, and so do we. In other containers a clock that starts anew has no meaning,
players differ, and there is no clip. Neither is there in an MPEG program stream (MPG), where FFmpeg
guesses the times of most frames, and wrongly about where parts meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median
from typing import Self

import av

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.marks import Mark

BACK_SECONDS = 0.1
"""A clock that goes back by more has started anew."""
AHEAD_SECONDS = 10.0
"""So has one that goes ahead by more, where it may. Both limits are the `ffmpeg` program's."""
JOINED_CONTAINER = "mpegts"
REMEDY = "give its frames even times with `ffmpeg -i FILE -an -vf setpts=N/FRAME_RATE/TB NEW.mp4`"


@dataclass(frozen=True, slots=True)
class Part:
    """Packets that follow each other in a file and share a clock."""

    num_packets: int
    num_undecodable: int
    """Of these, those before the first from which a decoder can start."""
    first_frame: int
    """Position of its first shown frame in the timeline."""
    shift_ticks: int
    """What to add to its times so that they follow those of the part before."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a stream, and the packets of its shown frames on one clock."""

    parts: tuple[Part, ...]
    shown: tuple[Mark, ...]
    """In the order of the file."""

    @classmethod
    def of(cls, stretches: Sequence[Sequence[Mark]], all_timed: bool, frame_ticks: int) -> Self:
        """Put stretches of packets one after another.

        Args:
            stretches: each with one clock.
            all_timed: packets without a time belong to no frame that is shown.
            frame_ticks: from the last frame of a part of one frame to the next part.

        Raises:
            UnusableVideo: there are several, and a frame has no time.
        """
        parts: list[Part] = []
        shown: list[Mark] = []
        end: int | None = None
        for stretch in stretches:
            first_key = next((i for i, mark in enumerate(stretch) if mark.is_key), len(stretch))
            own = decodable(stretch[first_key:], all_timed)
            ticks = _ticks(own) if len(stretches) > 1 else []
            shift = end - ticks[0] if ticks and end is not None else 0
            parts.append(Part(len(stretch), first_key, len(shown), shift))
            shown += [mark.shifted(shift) for mark in own] if shift else own
            if ticks:
                gaps = [b - a for a, b in pairwise(ticks)]
                end = ticks[-1] + shift + round(median(gaps) if gaps else frame_ticks)
        return cls(tuple(parts), tuple(shown))


def has_loose_clock(container: "av.ContainerFormat") -> bool:
    """Tell whether the times of this container's files may jump: in MPEG streams."""
    return bool(container.flags & av.format.Flags.ts_discont.value)


def stretches_of(
    marks: Sequence[Mark], seconds_per_tick: float, container: "av.ContainerFormat"
) -> list[Sequence[Mark]]:
    """Divide packets, in the order of the file, where their clock starts anew.

    Raises:
        UnusableVideo: it does, and must not in this container.
    """
    if not has_loose_clock(container):
        _refuse_restart(marks, seconds_per_tick)
        return [marks]
    stretches = _split(marks, seconds_per_tick)
    if len(stretches) > 1 and container.name != JOINED_CONTAINER:
        before, after = (mark.time or 0 for mark in (stretches[0][-1], stretches[1][0]))
        raise _restarted(before * seconds_per_tick, after * seconds_per_tick)
    return stretches


def _split(marks: Sequence[Mark], seconds_per_tick: float) -> list[Sequence[Mark]]:
    """Divide packets, in the order of the file, where their clock starts anew."""
    back, ahead = BACK_SECONDS / seconds_per_tick, AHEAD_SECONDS / seconds_per_tick
    bounds: list[int] = []
    before: int | None = None
    for number, mark in enumerate(marks):
        # Both times are looked at: where parts meet FFmpeg may guess one by the part before.
        times = [time for time in (mark.dts, mark.pts) if time is not None]
        start = before
        jumped = [t for t in times if start is not None and not start - back <= t <= start + ahead]
        if jumped:
            bounds.append(number)
            before = min(jumped)
        elif mark.dts is not None:
            before = mark.dts
    return [marks[start:end] for start, end in pairwise([0, *bounds, len(marks)])]


def _refuse_restart(marks: Sequence[Mark], seconds_per_tick: float) -> None:
    """Check that packets, in the order of the file, have one clock.

    FFmpeg guesses some times of decoding. That a key frame is shown before what is stored before it
    is no guess.

    Raises:
        UnusableVideo: a clock goes back.
    """
    back = BACK_SECONDS / seconds_per_tick
    timed = [
        (mark.time, mark.pts, mark.is_key)
        for mark in marks
        if mark.time is not None and mark.pts is not None
    ]
    latest = accumulate((pts for _, pts, _ in timed), max)
    for ((before, _, _), (now, pts, is_key)), shown in zip(pairwise(timed), latest, strict=False):
        if is_key and now < before - back and pts < shown - back:
            raise _restarted(shown * seconds_per_tick, pts * seconds_per_tick)


def _restarted(before_seconds: float, after_seconds: float) -> UnusableVideo:
    return UnusableVideo(
        DropReason.UNSUPPORTED,
        f"its clock jumps from {before_seconds:g} to {after_seconds:g} seconds, as in recordings "
        f"put one after another: {REMEDY}",
    )


def decodable(marks: Sequence[Mark], all_timed: bool) -> list[Mark]:
    """Return the packets of frames that are shown, and not before the key frame they start with."""
    start = marks[0].pts if marks else None
    return [
        mark
        for mark in marks
        if mark.is_shown
        and not (all_timed and mark.pts is None)
        and (start is None or mark.pts is None or mark.pts >= start)
    ]


def _ticks(marks: Sequence[Mark]) -> list[int]:
    """Return the times at which frames are shown, ascending."""
    ticks = sorted(mark.pts for mark in marks if mark.pts is not None)
    if len(ticks) < len(marks):
        raise UnusableVideo(
            DropReason.UNSUPPORTED,
            "its clock starts anew, as in recordings put one after another, and some of its "
            f"frames have no time: {REMEDY}",
        )
    return ticks
