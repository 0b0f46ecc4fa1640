"""Recordings put one after another in one file: each part has a clock of its own.

MPEG transport and program streams (TS, M2TS, MPG) may be joined as they are: players go on with the
next part where the one before ended, and so do we. In other containers a clock that starts anew has
no meaning, players differ, and there is no clip.
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
            UnusableVideo: there are several, and the frames of one have no times.
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


def may_restart(container: "av.ContainerFormat") -> bool:
    """Tell whether a clock may start anew in files of this container."""
    return bool(container.flags & av.format.Flags.ts_discont.value)


def stretches_of(
    marks: Sequence[Mark], seconds_per_tick: float, container: "av.ContainerFormat"
) -> list[Sequence[Mark]]:
    """Divide packets, in the order of the file, where their clock starts anew.

    Raises:
        UnusableVideo: it does, and must not in this container.
    """
    if may_restart(container):
        return _split(marks, seconds_per_tick)
    _refuse_restart(marks, seconds_per_tick)
    return [marks]


def _split(marks: Sequence[Mark], seconds_per_tick: float) -> list[Sequence[Mark]]:
    """Divide packets, in the order of the file, where their clock starts anew."""
    back, ahead = BACK_SECONDS / seconds_per_tick, AHEAD_SECONDS / seconds_per_tick
    times = ((number, mark.time) for number, mark in enumerate(marks))
    known = ((number, time) for number, time in times if time is not None)
    bounds = [
        number
        for (_, before), (number, now) in pairwise(known)
        if not before - back <= now <= before + ahead
    ]
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
            raise UnusableVideo(
                DropReason.UNSUPPORTED,
                f"its clock goes back from {shown * seconds_per_tick:g} to "
                f"{pts * seconds_per_tick:g} seconds, as in recordings put one after "
                f"another: {REMEDY}",
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
    if len(set(ticks)) < len(marks):
        raise UnusableVideo(
            DropReason.UNSUPPORTED,
            "its clock starts anew, as in recordings put one after another, and not each of its "
            f"frames has a time of its own: {REMEDY}",
        )
    return ticks
