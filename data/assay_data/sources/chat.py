"""Conversations: LLaMA-Factory's, ms-swift's and OpenRLHF-M's rows."""

import json
import re
from typing import Any

from pydantic import AliasChoices, Field, model_validator

from assay_api.dataset import Polarity
from assay_data.dataset.rows import IMAGE_MARK, VIDEO_MARK, Turn
from assay_data.drops import DropReason
from assay_data.sources.grouping import group_of
from assay_data.sources.polarity import answer_of, asked_polarity, classify
from assay_data.sources.record import AnyText, Media, Record, Text, to_medium
from assay_data.sources.row import BadRow, Medium, SourceRow, check_marks, joined_turns

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_INLINE_IMAGE = re.compile(r"<img>(.+?)</img>", re.DOTALL)


class Message(Record):
    """One message, in OpenAI's spelling or in ShareGPT's; parts become text with marks."""

    role: str = Field(validation_alias=AliasChoices("role", "from"))
    content: str = Field(validation_alias=AliasChoices("content", "value"))
    media: tuple[Medium, ...] = ()
    """Media that were parts of the content."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        parts = value.get("content") if isinstance(value, dict) else None
        if not isinstance(parts, list):
            return value
        pieces = [_part(part) for part in parts]
        text = "".join(text for text, _ in pieces)
        return {"role": value.get("role"), "content": text, "media": [m for _, m in pieces if m]}


def _part(part: object) -> tuple[str, Medium | None]:
    """Return the text of one part of a content, and its medium if it is one.

    Raises:
        ValueError: it is neither text, nor a picture, nor a video.
    """
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return part["text"], None
    for kind, mark in (("image", IMAGE_MARK), ("image_url", IMAGE_MARK), ("video", VIDEO_MARK)):
        found = part.get(kind) if isinstance(part, dict) else None
        place = found.get("url") if isinstance(found, dict) else found
        if isinstance(place, str) and place:
            return mark, to_medium(place)
    raise ValueError(f"a part of a message must be text, an image or a video, got {part!r}")


class LlamaFactory(Record):
    """A row of LLaMA-Factory: ShareGPT's form, with media, or a ranking."""

    messages: tuple[Message, ...] = Field(
        validation_alias=AliasChoices("messages", "conversations")
    )
    system: Text = ""
    images: Media = ()
    videos: Media = ()
    audios: Media = ()
    chosen: Message | None = None
    rejected: Message | None = None


class Swift(Record):
    """A row of ms-swift: `messages`, or `query` and `response` with a `history`."""

    messages: tuple[Message, ...] = ()
    system: Text = ""
    query: Text = ""
    response: Text = ""
    history: tuple[tuple[str, str], ...] | None = None
    images: Media = ()
    videos: Media = ()
    audios: Media = ()
    solution: AnyText = ""
    rejected_response: Text = ""
    subcat: Text = ""
    """In BusterX's rows: the generator."""


class OpenRlhf(Record):
    """A row of OpenRLHF-M (LMM-R1): the conversation as a JSON text."""

    message: str
    answer: AnyText
    question: Text = ""


def read_llama_factory(record: dict[str, object]) -> SourceRow:
    """Return a row: a conversation whose last answer is to be learned, or a preference pair.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = LlamaFactory.model_validate(record)
    if row.audios:
        raise BadRow(DropReason.UNSUPPORTED, f"{len(row.audios)} audios: sound is not supported")
    messages = _with_system(row.system, row.messages)
    if row.chosen and row.rejected:
        answers = {"chosen": row.chosen.content, "rejected": row.rejected.content}
        return chat_row(messages, row.images, row.videos, answer=row.chosen.content, **answers)
    return chat_row(messages, row.images, row.videos)


def read_swift(record: dict[str, object]) -> SourceRow:
    """Return a row: a conversation, or for RL a question and its solution.

    ms-swift puts the marks of media that the text does not place at its start.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = Swift.model_validate(record)
    if row.audios:
        raise BadRow(DropReason.UNSUPPORTED, f"{len(row.audios)} audios: sound is not supported")
    messages = _with_system(row.system, row.messages or _old_swift(row))
    inline = [
        Medium(place) for message in messages for place in _INLINE_IMAGE.findall(message.content)
    ]
    messages = [
        m.model_copy(update={"content": _INLINE_IMAGE.sub(IMAGE_MARK, m.content)}) for m in messages
    ]
    images = (*inline, *row.images)
    if not any(mark in m.content for m in messages for mark in (IMAGE_MARK, VIDEO_MARK)):
        messages = _marked(messages, IMAGE_MARK * len(images) + VIDEO_MARK * len(row.videos))
    known = {"answer": row.solution, "generator": row.subcat}
    if row.rejected_response and messages and messages[-1].role == "assistant":
        known |= {"chosen": messages[-1].content, "rejected": row.rejected_response}
    return chat_row(messages, images, row.videos, **known)


def read_open_rlhf(record: dict[str, object]) -> SourceRow:
    """Return a row: a question in OpenAI's form and its answer.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = OpenRlhf.model_validate(record)
    try:
        turns = json.loads(row.message)
    except (ValueError, RecursionError) as error:
        raise BadRow(DropReason.WRONG_COLUMNS, f"column message is no JSON: {error}") from error
    if not isinstance(turns, list):
        raise BadRow(DropReason.WRONG_COLUMNS, "column message must hold a list of messages")
    return chat_row([Message.model_validate(turn) for turn in turns], (), (), answer=row.answer)


def check_roles(message: Message) -> Turn:
    """Return a message as a turn.

    Raises:
        BadRow: its role is none of a chat's.
    """
    role = _ROLES.get(message.role, message.role)
    if role not in ("system", "user", "assistant"):
        raise BadRow(
            DropReason.UNSUPPORTED, f"role {role[:40]!r}: allowed are system, user and assistant"
        )
    return Turn(role, message.content)


def chat_row(
    messages: list[Message],
    images: tuple[Medium, ...],
    videos: tuple[Medium, ...],
    **known: str,
) -> SourceRow:
    """Return a row of a conversation: the last answer, if it ends with one, is the response.

    Args:
        messages: the conversation.
        images: its pictures, besides those that are parts of messages.
        videos: its videos, likewise.
        **known: fields of the row; an empty `answer` is taken out of the response.

    Raises:
        BadRow: there is no question, or marks and media differ in number.
    """
    turns = tuple(check_roles(message) for message in messages)
    parts = [medium for message in messages for medium in message.media]
    if parts and any(VIDEO_MARK in turn.content for turn in turns):
        videos = (*parts, *videos)
    else:
        images = (*parts, *images)
    response = ""
    if turns and turns[-1].role == "assistant":
        *earlier, last = turns
        turns, response = tuple(earlier), last.content
    problem = joined_turns(turns)
    if not problem.strip():
        raise BadRow(DropReason.WRONG_COLUMNS, "there is no question: messages need one of user")
    check_marks(problem, len(images), len(videos))
    media = images or videos
    known["answer"] = known.get("answer") or answer_of(response)
    label = labelled(known, asked_polarity(problem) if media else None)
    return SourceRow(
        problem=problem,
        prompt=() if len(turns) == 1 else turns,
        media=media,
        group=group_of(media, problem),
        task="detection" if label else "chat",
        response=response,
        labels_video=label,
        **known,
    )


def labelled(known: dict[str, str], polarity: Polarity | None) -> bool:
    """Add label, generator and the answer's spelling to what is known; tell whether there is one.

    Raises:
        BadRow: the question has options, and the answer is none of them.
    """
    if polarity is None or "chosen" in known:
        known["generator"] = ""
        return False
    known["label"], known["answer"] = classify(known["answer"], polarity)
    is_fake = known["label"] == "fake"
    known["generator"] = (known.get("generator") if is_fake else "") or known["label"]
    return True


def _with_system(system: str, messages: tuple[Message, ...]) -> list[Message]:
    first = [Message(role="system", content=system)] if system else []
    return [*first, *messages]


def _old_swift(row: Swift) -> tuple[Message, ...]:
    texts = [*(text for pair in row.history or () for text in pair), row.query, row.response]
    roles = ["user", "assistant"] * (len(texts) // 2)
    kept = len(texts) if row.response else len(texts) - 1
    return tuple(
        Message(role=role, content=text)
        for role, text in list(zip(roles, texts, strict=True))[:kept]
    )


def _marked(messages: list[Message], marks: str) -> list[Message]:
    """Put marks before the first message of the user."""
    first = next((i for i, m in enumerate(messages) if m.role in ("user", "human")), None)
    if not marks or first is None:
        return messages
    marked = messages[first].model_copy(update={"content": marks + messages[first].content})
    return [*messages[:first], marked, *messages[first + 1 :]]
