"""What a reader makes of one record, whoever's format it was in."""

from collections.abc import Sequence
from dataclasses import dataclass

from assay_api.control_tokens import control_tokens
from assay_data.dataset.rows import IMAGE_MARK, VIDEO_MARK, Turn
from assay_data.drops import DropReason


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture or a video of a row."""

    reference: str
    """Path or URL; empty for bytes without a name."""
    data: bytes | None = None
    """The file itself, where it lies in the row."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One annotated row. Fields that a dataset's row has too mean the same."""

    problem: str
    answer: str
    group: str
    """What must not be in Train and in Test at once; any text."""
    task: str
    media: tuple[Medium, ...] = ()
    prompt: tuple[Turn, ...] = ()
    """Empty: the problem as the only message."""
    label: str = ""
    labels_video: bool = False
    """Whether the label speaks of the video itself, so that a video cannot have two of them."""
    generator: str = ""
    part: str = ""
    """`Train` or `Test` as the row says; empty when it does not."""
    ability: str = ""
    entity: str = ""
    title: str = ""
    transcript: str = ""
    language: str = ""
    evidence: str = ""
    response: str = ""
    chosen: str = ""
    rejected: str = ""
    extra: str = "{}"
    """Columns that there is no field for, as a JSON mapping."""

    @property
    def shows_video(self) -> bool:
        """Whether its media are one video, or the frames of one, by the text's marks."""
        return any(VIDEO_MARK in text for text in (self.problem, *(t.content for t in self.prompt)))


class BadRow(Exception):
    """A record cannot become a row; says why."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        """Remember the reason and what exactly was found."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_WRITE_MARKS = "Write a mark where each medium is shown"
_LISTED_FRAMES = "Frames of one video are a list within the list: [[FRAME, ...]]"

Video = tuple[Medium, ...]
"""A video of a row: one file, or its frames in order."""


def chosen_media(
    text: str, images: Sequence[Medium], videos: Sequence[Video]
) -> tuple[Medium, ...]:
    """Return the media of a row: its images, or what its one video consists of.

    Raises:
        BadRow: the text has not a mark for each medium, or the row has more than one video, or
            both kinds.
    """
    check_marks(text, len(images), len(videos))
    return (*images, *(medium for video in videos for medium in video))


def check_marks(text: str, num_images: int, num_videos: int) -> None:
    """Raise BadRow unless the text has a mark for each medium and the row one kind of media."""
    found = (text.count(IMAGE_MARK), text.count(VIDEO_MARK))
    if found != (num_images, num_videos):
        raise BadRow(
            DropReason.WRONG_MARKS,
            f"{found[0]} {IMAGE_MARK} and {found[1]} {VIDEO_MARK} marks for {num_images} images "
            f"and {num_videos} videos: they must be as many. "
            + (_LISTED_FRAMES if found[1] == 1 < num_videos else _WRITE_MARKS),
        )
    if num_videos > 1 or (num_videos and num_images):
        raise BadRow(
            DropReason.UNSUPPORTED,
            f"{num_images} images and {num_videos} videos: a row holds images, or one video",
        )


def check_text(row: SourceRow) -> None:
    """Raise BadRow if a text of the row cannot be written as UTF-8, or spells tokens of control."""
    texts = [value for name in SourceRow.__slots__ if isinstance(value := getattr(row, name), str)]
    texts += [turn.content for turn in row.prompt]
    texts += [medium.reference for medium in row.media]
    try:
        "\n".join(texts).encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start : error.end]
        raise BadRow(DropReason.MALFORMED, f"{found!a} is half of a character") from error
    if tokens := control_tokens("\n".join(texts)):
        raise BadRow(
            DropReason.CONTROL_TOKEN, f"{', '.join(tokens)[:200]}: text must hold no such token"
        )


def answered(text: str, column: str) -> str:
    """Return an answer that a format's rows must have.

    Raises:
        BadRow: it is blank.
    """
    if not text.strip():
        raise BadRow(DropReason.NO_ANSWER, f"column {column} is blank: write the right answer")
    return text


def joined_turns(turns: tuple[Turn, ...]) -> str:
    """Return what is asked as one text: all but the system message, joined by blank lines."""
    return "\n\n".join(turn.content for turn in turns if turn.role != "system")
