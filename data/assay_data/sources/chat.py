"""Conversations: LLaMA-Factory's, ms-swift's and OpenRLHF-M's rows."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, Field, model_validator

from assay_api.dataset import Polarity
from assay_data.dataset.rows import IMAGE_MARK, VIDEO_MARK, Turn
from assay_data.drops import DropReason
from assay_data.sources.grouping import group_of
from assay_data.sources.polarity import answer_of, asked_polarity, classify
from assay_data.sources.record import (
    AnyText,
    Media,
    Record,
    Text,
    Videos,
    refuse_section,
    to_medium,
    to_video,
)
from assay_data.sources.row import (
    BadRow,
    Medium,
    SourceRow,
    Video,
    answered,
    chosen_media,
    joined_turns,
)

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_INLINE_IMAGE = re.compile(r"<img>(.+?)</img>", re.DOTALL)


class Message(Record):
    """One message, in OpenAI's spelling or in ShareGPT's; parts become text with marks."""

    role: str = Field(validation_alias=AliasChoices("role", "from"))
    content: str = Field(validation_alias=AliasChoices("content", "value"))
    images: Media = ()
    """Pictures that are parts of the content, or stand beside it."""
    videos: Videos = ()

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        parts = value.get("content") if isinstance(value, dict) else None
        if not isinstance(parts, list):
            return value
        read = [_part(part) for part in parts]
        return {
            "role": value.get("role"),
            "content": "".join(part.text for part in read),
            "images": [m for part in read for m in part.images] or value.get("images"),
            "videos": [list(v) for part in read for v in part.videos] or value.get("videos"),
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a content."""

    text: str
    images: tuple[Medium, ...] = ()
    videos: tuple[Video, ...] = ()


_IMAGE_KEYS = ("image", "image_url", "input_image")
_VIDEO_KEYS = ("video", "video_url", "input_video")
_PLACES = ("path", "url", "bytes")
_KINDS = {"text": "text", "input_text": "text", "output_text": "text"}
_KINDS |= dict.fromkeys(_IMAGE_KEYS, "image") | dict.fromkeys(_VIDEO_KEYS, "video")


def _part(part: object) -> _Part:
    """Return what one part of a content says and shows.

    Tables give each part all keys, those of its own kind filled. A part of type `image` or `video`
    without a place stands for the next medium of the row's own column.

    Raises:
        ValueError: it is neither text, nor a picture, nor a video, or several of them.
    """
    if isinstance(part, str):
        return _Part(part)
    if not isinstance(part, dict):
        raise ValueError(f"a part of a message must be a mapping, got {part!r}")
    filled = {_KINDS[key]: value for key, value in part.items() if key in _KINDS and value}
    said = part.get("type") or next(iter(filled), "text" if "text" in part else "")
    kind = _KINDS.get(said) if isinstance(said, str) else None
    if kind is None:
        raise ValueError(f"a part of a message must be text, an image or a video, got {part!r}")
    if others := sorted(filled.keys() - {kind}):
        raise ValueError(f"a part of type {kind} of a message has {others[0]} too: {part!r}")
    if kind == "text":
        if not isinstance(text := filled.get("text", ""), str):
            raise ValueError(f"text of a part of a message must be text, got {text!r}")
        return _Part(text)
    refuse_section(part)
    place = filled.get(kind) or (part if any(part.get(key) for key in _PLACES) else None)
    if kind == "image":
        return _Part(IMAGE_MARK, (to_medium(place),) if place else ())
    return _Part(VIDEO_MARK, (), (to_video(place),) if place else ())


class LlamaFactory(Record):
    """A row of LLaMA-Factory: ShareGPT's form, with media, or a ranking."""

    messages: tuple[Message, ...] = Field(
        validation_alias=AliasChoices("messages", "conversations")
    )
    system: Text = ""
    images: Media = Field(default=(), validation_alias=AliasChoices("images", "image"))
    videos: Videos = Field(default=(), validation_alias=AliasChoices("videos", "video"))
    audios: Media = Field(default=(), validation_alias=AliasChoices("audios", "audio"))
    chosen: Message | None = None
    rejected: Message | None = None


class Swift(Record):
    """A row of ms-swift: `messages`, or `query` and `response` with a `history`."""

    messages: tuple[Message, ...] = ()
    system: Text = ""
    query: Text = ""
    response: Text = ""
    history: tuple[tuple[str, str], ...] | None = None
    images: Media = Field(default=(), validation_alias=AliasChoices("images", "image"))
    videos: Videos = Field(default=(), validation_alias=AliasChoices("videos", "video"))
    audios: Media = Field(default=(), validation_alias=AliasChoices("audios", "audio"))
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
    refuse_sound(row.audios)
    messages = _with_system(row.system, row.messages)
    if row.chosen and row.rejected:
        _refuse_media(row.chosen, row.rejected)
        chosen = answered(row.chosen.content, "chosen")
        answers = {"chosen": chosen, "rejected": row.rejected.content}
        return chat_row(messages, row.images, row.videos, answer=chosen, **answers)
    return chat_row(messages, row.images, row.videos)


def read_swift(record: dict[str, object]) -> SourceRow:
    """Return a row: a conversation, or for RL a question and its solution.

    ms-swift puts the marks of media that the text does not place at its start.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = Swift.model_validate(record)
    refuse_sound(row.audios)
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
    if "solution" in record and not (messages and messages[-1].role == "assistant"):
        answered(row.solution, "solution")
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
    messages = [Message.model_validate(turn) for turn in turns]
    return chat_row(messages, (), (), answer=answered(row.answer, "answer"))


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
    images: Sequence[Medium],
    videos: Sequence[Video],
    **known: str,
) -> SourceRow:
    """Return a row of a conversation: the last answer, if it ends with one, is the response.

    Args:
        messages: the conversation.
        images: its pictures, unless they are parts of messages.
        videos: its videos, likewise.
        **known: fields of the row; an empty `answer` is taken out of the response.

    Raises:
        BadRow: there is no question, an answer is blank, or marks and media differ in number.
    """
    turns = tuple(check_roles(message) for message in messages)
    images, videos = all_media(messages, images, videos)
    response = ""
    if turns and turns[-1].role == "assistant":
        *earlier, last = turns
        turns, response = tuple(earlier), answered(last.content, "messages, last answer,")
    problem = joined_turns(turns)
    if not problem.strip():
        raise BadRow(DropReason.WRONG_COLUMNS, "there is no question: messages need one of user")
    media = chosen_media(problem, images, videos)
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


def all_media(
    messages: Sequence[Message], images: Sequence[Medium], videos: Sequence[Video]
) -> tuple[tuple[Medium, ...], tuple[Video, ...]]:
    """Return the pictures and the videos of a row, out of its messages or out of its columns.

    Raises:
        BadRow: they are in both, so that nothing says which mark means which.
    """
    own_images = tuple(medium for message in messages for medium in message.images)
    own_videos = tuple(video for message in messages for video in message.videos)
    if (own_images or own_videos) and (images or videos):
        raise BadRow(
            DropReason.UNSUPPORTED,
            f"{len(own_images) + len(own_videos)} media in messages and {len(images) + len(videos)}"
            " in a column of the row: which mark means which cannot be told; put all in one place",
        )
    return own_images or tuple(images), own_videos or tuple(videos)


def refuse_sound(audios: Sequence[Medium]) -> None:
    """Raise BadRow if a row has sound."""
    if audios:
        raise BadRow(DropReason.UNSUPPORTED, f"{len(audios)} audios: sound is not supported")


def _refuse_media(*answers: Message) -> None:
    if any(answer.images or answer.videos for answer in answers):
        raise BadRow(DropReason.UNSUPPORTED, "media in an answer: an answer must be text")


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
