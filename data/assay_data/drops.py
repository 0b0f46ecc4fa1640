"""Files and rows that did not become part of a dataset, each with its reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class DropReason(StrEnum):
    """Why a file or a row is not in the dataset."""

    NOT_A_VIDEO = "NotAVideo"
    """Its extension is none of a video's or a picture's."""
    NO_LABEL = "NoLabel"
    """It lies neither under a folder `real` nor under a folder `fake`."""
    UNREADABLE = "Unreadable"
    """It cannot be opened: permissions, a broken link, not a regular file, an impossible name."""
    EMPTY = "Empty"
    """It has no bytes."""
    NO_VIDEO_STREAM = "NoVideoStream"
    """It has sound or a cover picture only."""
    CORRUPT = "Corrupt"
    """No decoder can read it."""
    UNSUPPORTED = "Unsupported"
    """Whole, but of a kind that is not taken: an unknown codec, an animation, a row with sound."""
    TOO_MANY_PIXELS = "TooManyPixels"
    """A picture so large that unpacking it is not safe."""
    TRUNCATED = "Truncated"
    """It ends well before the duration that it declares."""
    TOO_SHORT = "TooShort"
    """It has too little time or too few frames for one clip."""
    ASPECT_RATIO = "AspectRatio"
    """One side is over 200 times the other, which the model cannot take."""
    TIMEOUT = "Timeout"
    """Decoding took longer than the dataset allows."""
    OUT_OF_MEMORY = "OutOfMemory"
    """Decoding took more memory than a decoder gets."""
    DECODER_CRASHED = "DecoderCrashed"
    """The decoder's process died on it."""
    DUPLICATE = "Duplicate"
    """Another file with the same bytes or pictures and the same label is in the dataset."""
    CONFLICTING_LABEL = "ConflictingLabel"
    """The same video appears as real and as fake: neither can be believed."""
    NOT_ROWS = "NotRows"
    """Its extension is neither that of rows nor that of media."""
    MALFORMED = "Malformed"
    """A row is no JSON object."""
    WRONG_COLUMNS = "WrongColumns"
    """A row lacks columns of its format, or they hold something else."""
    WRONG_MARKS = "WrongMarks"
    """A row's text has another number of image or video marks than the row has media."""
    CONTROL_TOKEN = "ControlToken"
    """A row's text spells a token of control, such as `<|im_end|>`, which a model would obey."""
    NO_ANSWER = "NoAnswer"
    """A row's answer is blank, in a format whose rows have one."""
    UNKNOWN_LABEL = "UnknownLabel"
    """A row's answer names neither of its two classes."""
    OTHER_CLASS = "OtherClass"
    """A row belongs to a class beside real and fake, such as debunking."""
    MISSING_MEDIA = "MissingMedia"
    """A row's media are not where they were looked for."""
    UNSAFE_MEMBER = "UnsafeMember"
    """An archive's member is a link or a device, or its name leads out of the archive."""
    TOO_LARGE = "TooLarge"
    """A medium is larger than is taken."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One dropped file or row."""

    source: str
    """Path relative to the source folder; a row's position follows a colon, counted from 1."""
    reason: DropReason
    detail: str
    """What exactly was found, for people."""


class UnusableVideo(Exception):
    """A video cannot be used; says why."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        """Remember the reason and what exactly was found."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_drops(entries: Iterable[dict[str, Any]]) -> list[Drop]:
    """Return the drops that were written as plain values.

    Raises:
        ValueError: there is no such reason.
    """
    return [Drop(e["source"], DropReason(e["reason"]), e["detail"]) for e in entries]


def count_reasons(drops: Iterable[Drop]) -> dict[str, int]:
    """Return how many were dropped for each reason, reasons in alphabetical order."""
    return dict(sorted(Counter(drop.reason.value for drop in drops).items()))


def describe_reasons(drops: Iterable[Drop]) -> str:
    """Return the counts of reasons as words, such as `Corrupt 2, Empty 1`, or `none`."""
    counts = count_reasons(drops)
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "none"
