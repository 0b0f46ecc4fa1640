"""The row of a dataset: what is asked about which frames, and what is known of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay_data.lessons import Example

REAL, FAKE = "real", "fake"
LABELS = (REAL, FAKE)
"""What a row's label may be, if it has one."""
UNLABELLED = "unlabelled"
"""Stands for an empty label where rows are counted."""
IMAGE_MARK = "<image>"
"""Stands in a text where a picture is shown, one for each."""
VIDEO_MARK = "<video>"
"""Stands in a source's text where a whole video is shown."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One row of a dataset, without its frames. Times are seconds from the video's start.

    A row with frames has as many image marks in `problem`, and in all of `prompt`, as frames; a row
    without has the marks of its source.
    """

    row_id: str
    """The video's identifier and the clip's index, or file and position: unique in the dataset."""
    video_id: str
    """What must not be in Train and in Test at once: the video, or the question of a text row."""
    label: str
    """`real` or `fake`; empty when the row says nothing of a video's truth."""
    generator: str
    """What made the fake; `real` for the real ones; empty without a label."""
    split: str
    """`Train` or `Test`."""
    source: str
    """The file's path, relative to the source folder; a row's position follows a colon."""
    source_sha256: str
    """Of the video file's bytes; without media, of the row's content."""
    start_seconds: float
    end_seconds: float
    sampled_fps: float
    """Frames per second of the frames that were taken; 0 without frames."""
    timestamps_seconds: tuple[float, ...]
    """When each frame was taken."""
    width: int
    """Pixels of a frame, as is `height`; 0 without frames."""
    height: int
    examples: tuple[Example, ...]
    """Supervised examples on this clip."""
    task: str = ""
    """What kind of question it is, such as `detection`, `caption`, `HotpotQA`."""
    problem: str = ""
    """The question, with its image marks; several turns are joined by blank lines."""
    prompt: tuple[Turn, ...] = ()
    """The same as messages, with a system message and earlier turns if there are any."""
    answer: str = ""
    """The right answer, in the spelling of its task."""
    ability: str = ""
    """The source's word for the field, such as `math`."""
    entity: str = ""
    """What was exchanged in a manipulated title; several are on lines of their own."""
    title: str = ""
    transcript: str = ""
    """What is said in the video."""
    language: str = ""
    """ISO 639-1 code of title and question; empty when the source does not tell."""
    evidence: str = ""
    """What the reasoning may be checked against; not for the model's eyes."""
    response: str = ""
    """What the model is to learn to say (SFT)."""
    chosen: str = ""
    """The better response of a pair (DPO), as `rejected` is the worse one."""
    rejected: str = ""
    media: tuple[str, ...] = ()
    """Paths or URLs of the row's media, as the source names them."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The source's columns that there is no field for, as plain JSON values."""


def place_marks(texts: Sequence[str], num_images: int) -> list[str]:
    """Return texts that hold this many image marks in all.

    Texts that do so already stay as they are. Otherwise all marks go where the first one is, or, if
    there is none, to the very start.

    Example:
        >>> place_marks(["What is this? <video>"], 2)
        ['What is this? <image><image>']
        >>> place_marks(["Look: <image>", "and <image>"], 2)
        ['Look: <image>', 'and <image>']
    """
    found = sum(text.count(IMAGE_MARK) for text in texts)
    if found == num_images and not any(VIDEO_MARK in text for text in texts):
        return list(texts)
    marked = next((i for i, text in enumerate(texts) if _first_mark(text) is not None), 0)
    return [
        _moved(text, num_images) if index == marked else _unmarked(text)
        for index, text in enumerate(texts)
    ]


def _moved(text: str, num_images: int) -> str:
    place = _first_mark(text) or 0
    return text[:place] + IMAGE_MARK * num_images + _unmarked(text[place:])


def _first_mark(text: str) -> int | None:
    places = [place for mark in (IMAGE_MARK, VIDEO_MARK) if (place := text.find(mark)) >= 0]
    return min(places, default=None)


def _unmarked(text: str) -> str:
    """Return a text without marks, those included that appear when one within them is gone."""
    while IMAGE_MARK in text or VIDEO_MARK in text:
        text = text.replace(IMAGE_MARK, "").replace(VIDEO_MARK, "")
    return text
