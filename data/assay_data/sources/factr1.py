"""Fact-R1's and FakeVV's rows: news with a title that may be false, captions, texts in pictures.

One reader takes all four forms: FakeVV's test set and the long reasoning chains (`messages`), the
preference pairs (`chosen`, `rejected`) and the mixed tasks of RL (`task`).
"""

import re

from assay_data.dataset.rows import IMAGE_MARK, VIDEO_MARK
from assay_data.drops import DropReason
from assay_data.sources.chat import Message, all_media, check_roles
from assay_data.sources.grouping import group_of, is_url
from assay_data.sources.polarity import YES_IS_FAKE, answer_of, classify, plain
from assay_data.sources.record import Media, Record
from assay_data.sources.row import BadRow, Medium, SourceRow, answered

FRAMES_PER_VIDEO = 8
"""So many image marks stand for a video of which only the URL is given."""
NEWS_TASKS = ("fakevv", "fakesv", "fakett")
QUESTION = "is this multimodal content manipulated?"
_NEWS = re.compile(
    r"The news title is '(?P<title>.*?)"
    r"(?:', the news audio is '(?P<transcript>.*))?', is this multimodal content manipulated\?",
    re.DOTALL,
)


class MixedTask(Record):
    """A row of the RL stage."""

    image: Media
    problem: str
    solution: str
    """News: `Yes` or `No`, and the exchanged entity on the lines below. Else the text wanted."""
    task: str


class Answered(Record):
    """A row of FakeVV's test set or of the reasoning chains."""

    messages: tuple[Message, ...]
    images: Media = ()


class Pair(Record):
    """A preference pair. Both answers are mostly the same; nothing says which one is right."""

    conversations: tuple[Message, ...]
    chosen: Message
    rejected: Message
    images: Media = ()


def read_factr1(record: dict[str, object]) -> SourceRow:
    """Return a row. Of news, `yes` (manipulated) is fake, the positive class.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    if "chosen" in record:
        return _pair(Pair.model_validate(record))
    if "messages" in record:
        return _answered(Answered.model_validate(record))
    return _mixed(MixedTask.model_validate(record))


def asks_about_news(record: dict[str, object]) -> bool:
    """Tell Fact-R1's rows from others of the same columns: by their question."""
    if {"image", "problem", "solution", "task"} <= record.keys():
        return True
    turns = record.get("messages", record.get("conversations"))
    if not isinstance(turns, list):
        return False
    contents = [t.get("content", t.get("value")) for t in turns if isinstance(t, dict)]
    return any(isinstance(text, str) and QUESTION in text for text in contents)


def title_and_transcript(problem: str) -> tuple[str, str]:
    """Return title and transcript of a question about news; empty ones of other questions.

    Titles hold quotes: the end is not the next quote, but the next words of the question.

    Example:
        >>> asked = "The news title is 'It's 'on'', the news audio is 'so', " + QUESTION
        >>> title_and_transcript(asked)
        ("It's 'on'", 'so')
    """
    found = _NEWS.search(problem)
    return (found["title"], found["transcript"] or "") if found else ("", "")


def _mixed(row: MixedTask) -> SourceRow:
    media = _checked_media(row.image, row.problem)
    label, answer, entity = "", answered(row.solution, "solution").strip(), ""
    if row.task in NEWS_TASKS:
        first, _, below = row.solution.strip().partition("\n")
        label, answer = classify(first, YES_IS_FAKE)
        entity = below.strip()
    return _row(row.problem, media, task=row.task, answer=answer, label=label, entity=entity)


def _answered(row: Answered) -> SourceRow:
    if [check_roles(message).role for message in row.messages] != ["user", "assistant"]:
        raise BadRow(DropReason.WRONG_COLUMNS, "messages: must be one of user, one of assistant")
    problem, response = (message.content for message in row.messages)
    task = _task(problem)
    label, answer = "", answer_of(response)
    if task == "fakevv":
        label, answer = classify(response, YES_IS_FAKE)
    media = _checked_media(all_media(row.messages, row.images, ())[0], problem)
    return _row(problem, media, task=task, answer=answer, label=label, response=response)


def _pair(row: Pair) -> SourceRow:
    if [check_roles(message).role for message in row.conversations] != ["user"]:
        raise BadRow(DropReason.WRONG_COLUMNS, "conversations: must be one message of human")
    problem, chosen = row.conversations[0].content, row.chosen.content
    task = _task(problem)
    answer = plain(chosen) if task == "fakevv" else answer_of(chosen)
    media = _checked_media(all_media(row.conversations, row.images, ())[0], problem)
    return _row(
        problem, media, task=task, answer=answer, chosen=chosen, rejected=row.rejected.content
    )


def _task(problem: str) -> str:
    return "fakevv" if QUESTION in problem else "caption"


def _checked_media(media: tuple[Medium, ...], problem: str) -> tuple[Medium, ...]:
    """Return the media; a URL that is repeated for each frame is one video."""
    marks = problem.count(IMAGE_MARK)
    if problem.count(VIDEO_MARK) == 0:
        if marks == len(media):
            one = len(set(media)) == 1 and is_url(media[0].reference)
            return media[:1] if one else media
        if marks == FRAMES_PER_VIDEO and len(media) == 1:
            return media
    raise BadRow(
        DropReason.WRONG_MARKS,
        f"{marks} {IMAGE_MARK} marks for {len(media)} media: must be as many, or "
        f"{FRAMES_PER_VIDEO} for the URL of one video",
    )


def _row(problem: str, media: tuple[Medium, ...], **known: str) -> SourceRow:
    title, transcript = title_and_transcript(problem)
    return SourceRow(
        problem=problem,
        media=media,
        group=group_of(media, problem),
        generator=known.get("label", ""),
        title=title,
        transcript=transcript,
        language="en",
        **known,  # type: ignore[arg-type]
    )
