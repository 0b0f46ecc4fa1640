r"""The answer format Boxed: `<think>reasoning</think>`, then text with `\boxed{answer}` in it."""

import re

from assay_data.dataset import ClipRow
from assay_trainer.answers.parsed import Parsed
from assay_trainer.answers.tags import TAGS, says_nothing, think_block

_BOX = r"\boxed{"
_STRICT = re.compile(r"\s*<think>.*</think>(?P<after>.*)", re.DOTALL)


class BoxedFormat:
    r"""Reads the content of the last box after the think block.

    Example:
        >>> BoxedFormat().parse(r"<think>2 + 2</think> It is \boxed{\frac{8}{2}}.").verdict
        '\\frac{8}{2}'
        >>> BoxedFormat().parse(r"It is \boxed{4}.")
        Parsed(verdict=None, loose_verdict='4', thinking=None)
    """

    name = "Boxed"
    form = r"<think>REASONING</think> ... \boxed{ANSWER}"
    marks = (*TAGS[:2], r"\boxed")

    def parse(self, text: str) -> Parsed:
        """Return what a completion says; a box within the think block is no answer."""
        matched = _STRICT.fullmatch(text)
        one_block = matched is not None and all(text.count(tag) == 1 for tag in TAGS[:2])
        return says_nothing(text) or Parsed(
            verdict=last_box(matched["after"]) if matched and one_block else None,
            loose_verdict=last_box(text.rpartition(TAGS[1])[2]),
            thinking=think_block(text),
        )

    def truth(self, row: ClipRow) -> str | None:
        """Return what the row's answer has in its last box, or without one the whole answer."""
        return last_box(row.answer) or row.answer.strip() or None


def last_box(text: str) -> str | None:
    r"""Return the content of the last box that is closed and not empty.

    Example:
        >>> last_box(r"\boxed{1} or \boxed{\text{b}\}} or \boxed{3")
        '\\text{b}\\}'
    """
    end = len(text)
    while (start := text.rfind(_BOX, 0, end)) >= 0:
        content = _closed(text[start + len(_BOX) :])
        if content and content.strip():
            return content.strip()
        end = start
    return None


def _closed(text: str) -> str | None:
    """Return a text up to the brace that closes one before it; escaped braces don't count."""
    depth, place = 1, 0
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:place]
        place += 1
    return None
