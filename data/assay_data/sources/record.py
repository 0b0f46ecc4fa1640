"""Columns that several formats share, checked: other columns are left alone."""

import base64
import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from assay_data.sources.row import Medium

_DATA_URL = re.compile(r"data:[\w/+.-]*;base64,")
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
    """Write an answer that is no text as JSON, as reward functions expect it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _media(value: object) -> tuple[Medium, ...]:
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) == 1 and isinstance(items[0], list | tuple):
        items = items[0]  # A video as the list of its frames.
    return tuple(to_medium(item) for item in items)


def to_medium(value: object) -> Medium:
    """Read a path, bytes, a data URL, or a mapping of them, as `datasets` and verl keep media.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(value, Medium):
        return value
    if isinstance(value, str) and (found := _DATA_URL.match(value)):
        return Medium("", base64.b64decode(value[found.end() :], validate=True))
    if isinstance(value, str) and value:
        return Medium(value)
    if isinstance(value, bytes) and value:
        return Medium("", value)
    if isinstance(value, dict):
        data = value.get("bytes")
        path = next((value[k] for k in ("path", "image", "video", "url") if value.get(k)), "")
        if isinstance(path, str) and (data is None or isinstance(data, bytes)) and (path or data):
            return Medium(path, data or None)
    raise ValueError(f"a medium must be a path, bytes, or both under `path` and `bytes`: {value!r}")


def _mapping(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, BeforeValidator(_text)]
"""Text; null is the empty text."""
AnyText = Annotated[str, BeforeValidator(to_text)]
"""Text, or any other value as JSON."""
Media = Annotated[tuple[Medium, ...], BeforeValidator(_media)]
"""One medium or a list of them; a list within the list is one video's frames."""
Mapping = Annotated[dict[str, Any], BeforeValidator(_mapping)]
"""Any mapping with texts as keys; null is an empty one."""
