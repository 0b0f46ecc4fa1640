"""Files that did not become part of a dataset, each with its reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class DropReason(StrEnum):
    """Why a file is not in the dataset."""

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
    """It is whole, but of a kind that is not read: an unknown codec, an animated picture."""
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
    """Another file with the same bytes and the same label is in the dataset."""
    CONFLICTING_LABEL = "ConflictingLabel"
    """The same bytes appear as real and as fake: neither can be believed."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One dropped file."""

    source: str
    """Path relative to the source folder."""
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


def count_reasons(drops: Iterable[Drop]) -> dict[str, int]:
    """Return how many files were dropped for each reason, reasons in alphabetical order."""
    return dict(sorted(Counter(drop.reason.value for drop in drops).items()))


def describe_reasons(drops: Iterable[Drop]) -> str:
    """Return the counts of reasons as words, such as `Corrupt 2, Empty 1`, or `none`."""
    counts = count_reasons(drops)
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "none"
