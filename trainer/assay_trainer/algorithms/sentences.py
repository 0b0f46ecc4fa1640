"""The sentences of a model's reasoning, with their places in its text.

All places are counted in characters (code points), from the start of the text.
"""

import re
from dataclasses import dataclass

from sentencex import get_sentence_boundaries

_THINK = re.compile(r"<think>(?P<thinking>(?:(?!</?think>).)*)</think>", re.DOTALL)
_LIST_MARK = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]|[-*\u2022]+")
"""What stands before an item of a list, and would else be a sentence of its own."""
_MARK_AT_END = re.compile(r"(?<=[:;,])\s+(?P<mark>\(?\d{1,3}[.)])$")
"""A list's first mark, after what announces the list."""
_HAS_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, without the white space around it."""

    start: int
    """Place of its first character."""
    end: int
    """Place after its last character."""


def reasoning_sentences(text: str, language: str = "en") -> tuple[Sentence, ...]:
    """Return the sentences of the last think block, in order; none without a closed block.

    White space between sentences belongs to none. A mark of a list ("2.", "-") belongs to the
    sentence after it, and so does whatever else holds no letter or digit; at the block's end it
    belongs to none.

    Args:
        text: a whole completion, what the prompt holds of it included.
        language: ISO 639-1 code whose abbreviations are known. Full stops of other scripts end
            sentences in every language.

    Source:
        FSPO, arXiv:2505.24630, section 3: responses are split into sentences. Its code splits the
        last think block by NLTK.

    Example:
        >>> text = "<think>Dr. Smith has 3.5. 1. He left.</think>"
        >>> [text[one.start : one.end] for one in reasoning_sentences(text)]
        ['Dr. Smith has 3.5.', '1. He left.']
    """
    blocks = list(_THINK.finditer(text))
    if not blocks:
        return ()
    offset, content = blocks[-1].start("thinking"), blocks[-1]["thinking"]
    found: list[Sentence] = []
    pending: int | None = None
    for piece in get_sentence_boundaries(language, content):
        start, end = _stripped(content, piece["start_index"], piece["end_index"])
        if start == end:
            continue
        first = start if pending is None else pending
        if _is_mark(content[start:end]):
            pending = first
            continue
        announced = _MARK_AT_END.search(content[first:end])
        pending = first + announced.start("mark") if announced else None
        end = first + announced.start() if announced else end
        found.append(Sentence(offset + first, offset + end))
    return tuple(found)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _is_mark(piece: str) -> bool:
    return _LIST_MARK.fullmatch(piece) is not None or _HAS_WORD.search(piece) is None
