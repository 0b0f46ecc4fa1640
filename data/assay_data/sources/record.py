"""Columns that several formats share, checked: other columns are left alone."""

import base64
import json
import math
import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from assay_data.sources.folders import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from assay_data.sources.row import Medium, Video

_DATA_URL = re.compile(r"data:([^,]*),", re.IGNORECASE)
_BASE64 = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk|SUkqA|TU0AK|AAAA..Z0eX|GkXfo")
"""How base64 of PNG, JPEG, GIF, WebP and AVI, BMP, TIFF, MP4 and Matroska begins."""
_MIN_BASE64 = 64
"""Characters. Less is no picture, and may be a path."""
_MAX_PATH = 4096
"""Characters of the longest path of a file."""
_SECTION = ("video_start", "video_end", "start_time", "end_time")
"""Keys beside a medium that mean only a part of it."""
_MEDIA_COLUMNS = frozenset(
    f"{name}{ending}"
    for name in ("image", "video", "frame", "picture", "photo", "clip", "img")
    for ending in ("", "s", "_path", "_paths", "_file", "_files", "_url", "_urls")
)
_NO_MEDIA_COLUMNS = frozenset(
    "problem prompt question query answer solution response rejected_response system title "
    "description transcript knowledge right_answer hallucinated_answer message task id _id row_id "
    "video_id image_id sample_id question_id".split()
)
"""Columns of texts and names, which may end as the name of a file does."""
_TRAIN = {"train", "training"}
_TEST = {"test", "val", "validation", "valid", "dev", "eval", "benchmark"}


class Record(BaseModel):
    """A row as its format has it. Numbers become text where text is wanted."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        coerce_numbers_to_str=True,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("it is no number that JSON has; write a number, a text or null")
        return value


def part_of(word: str) -> str:
    """Return the part of a dataset that a source's word means; empty for other words.

    Example:
        >>> part_of("train"), part_of("Benchmark"), part_of("extra")
        ('Train', 'Test', '')
    """
    if word.casefold() in _TRAIN:
        return "Train"
    return "Test" if word.casefold() in _TEST else ""


def _text(value: object) -> object:
    return "" if value is None else value


def to_text(value: object) -> str:
    """Write an answer that is no text as JSON, as reward functions expect it.

    Raises:
        ValueError: it holds NaN or an infinite number.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str, allow_nan=False)


def _listed(value: object) -> list[Any]:
    """Return a column of media as a list; null and blank texts, which tables fill in, are none."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if item is not None and item != "" and item != []]


def _media(value: object) -> tuple[Medium, ...]:
    items = _listed(value)
    if len(items) == 1 and isinstance(items[0], list | tuple):
        items = _listed(items[0])
    return tuple(to_medium(item) for item in items)


def _videos(value: object) -> tuple[Video, ...]:
    return tuple(to_video(item) for item in _listed(value))


def to_video(value: object) -> Video:
    """Read a video as a medium, or as the list of its frames, also under `video`.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(value, dict) and isinstance(frames := value.get("video"), list | tuple):
        refuse_section(value)
        value = frames
    if not isinstance(value, list | tuple):
        return (to_medium(value),)
    if not value:
        raise ValueError("a video is an empty list of frames")
    return tuple(to_medium(frame) for frame in value)


def to_medium(value: object) -> Medium:
    """Read a path, bytes, base64, a data URL, or a mapping of them, as other tools keep media.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(value, Medium):
        return value
    if isinstance(value, str) and value:
        return _medium_of_text(value)
    if isinstance(value, bytes) and value:
        return Medium("", value)
    if isinstance(value, dict):
        refuse_section(value)
        data = value.get("bytes")
        keys = ("path", "image", "video", "url", "image_url", "video_url")
        path = next((value[k] for k in keys if value.get(k)), "")
        if isinstance(path, dict):
            path = path.get("url")
        if isinstance(data, bytes) and data and isinstance(path, str):
            return Medium(path, data)
        if data is None and isinstance(path, str) and path:
            return _medium_of_text(path)
    raise ValueError(f"a medium must be a path, bytes, or both under `path` and `bytes`: {value!r}")


def _medium_of_text(text: str) -> Medium:
    """Read a text that is a path or URL, or the file itself as base64."""
    if found := _DATA_URL.match(text):
        if not found[1].casefold().endswith(";base64"):
            raise ValueError("a data URL of a medium must be base64")
        return Medium("", _decoded(text[found.end() :]))
    if _is_inline(text):
        return Medium("", _decoded(text))
    if len(text) > _MAX_PATH:
        raise ValueError(
            f"a text of {len(text)} characters is no path, and base64 of no known picture or video"
        )
    return Medium(text)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"base64 of a medium is damaged: {error}") from error


def refuse_section(value: dict[Any, Any]) -> None:
    """Raise ValueError if a mapping with a medium means only a part of it."""
    if found := [key for key in _SECTION if value.get(key) is not None]:
        raise ValueError(f"{found[0]}: a part of a video is not taken: cut the file")


def unread_medium(record: dict[str, object]) -> str | None:
    """Return a column of a row without media that yet holds one, by its name or by what it holds.

    Example:
        >>> unread_medium({"question": "Is it?", "video_path": "a.MP4"})
        'video_path'
        >>> unread_medium({"question": "Is a.mp4 real?", "image": None, "images": []}) is None
        True
    """
    return next((name for name, value in record.items() if holds_medium(str(name), value)), None)


def holds_medium(name: str, value: object) -> bool:
    """Tell whether a column holds pictures or videos, by its name or by what it holds."""
    items = [inner for item in _listed(value) for inner in _listed(item)]
    if not items or name.casefold() in _NO_MEDIA_COLUMNS:
        return False
    if not all(isinstance(item, str | bytes | dict) for item in items):
        return False
    return name.casefold() in _MEDIA_COLUMNS or all(_is_medium(item) for item in items)


def _is_medium(item: object) -> bool:
    if isinstance(item, dict):
        return isinstance(item.get("bytes"), bytes) or any(
            isinstance(place := item.get(key), str) and _is_medium(place)
            for key in ("path", "url", "image", "video")
        )
    if not isinstance(item, str):
        return isinstance(item, bytes)
    if "\n" in item or len(item) > _MAX_PATH:
        return _is_inline(item)
    if " " in item and "/" not in item:
        return False  # A text that ends with the name of a file.
    place = item.partition("?")[0] if "://" in item else item
    is_file = PurePosixPath(place).suffix.casefold() in VIDEO_EXTENSIONS | IMAGE_EXTENSIONS
    return is_file or _is_inline(item)


def _is_inline(text: str) -> bool:
    """Tell whether a text is a file itself, as a data URL or as base64."""
    return _DATA_URL.match(text) is not None or (
        len(text) >= _MIN_BASE64 and "." not in text and _BASE64.match(text) is not None
    )


def _mapping(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, BeforeValidator(_text)]
"""Text; null is the empty text."""
AnyText = Annotated[str, BeforeValidator(to_text)]
"""Text, or any other value as JSON."""
Media = Annotated[tuple[Medium, ...], BeforeValidator(_media)]
"""One medium or a list of them; a list within the list is one video's frames."""
Videos = Annotated[tuple[Video, ...], BeforeValidator(_videos)]
"""One video or a list of them; a list within the list is the frames of one."""
Mapping = Annotated[dict[str, Any], BeforeValidator(_mapping)]
"""Any mapping with texts as keys; null is an empty one."""
