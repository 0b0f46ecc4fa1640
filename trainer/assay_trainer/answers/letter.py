"""The answer format Letter: `<think>reasoning</think><answer>A</answer>`; A is real, B is fake."""

import re

from assay_data.dataset import ClipRow
from assay_trainer.answers.parsed import Parsed
from assay_trainer.answers.tags import TAGS, last_answer, says_nothing, strict_answer, think_block
from assay_trainer.records import FAKE, REAL

LETTERS = {"A": REAL, "B": FAKE}
"""The options of the multiple-choice question."""

_LOOSE = re.compile(r"\W*(?:(?P<letter>[ab])\b)?\W*(?P<word>real|fake)?\W*")


def parse_answer(text: str) -> Parsed:
    """Return the verdict and the reasoning that a completion states.

    Neither reading searches the reasoning: a letter or a word outside the answer tags is nothing.

    Example:
        >>> parse_answer("<think>Based on it, no.</think> <answer>A</answer>").verdict
        'real'
        >>> parse_answer("I say <answer>b) fake</answer>")
        Parsed(verdict=None, loose_verdict='fake', thinking=None)
        >>> parse_answer("<think>Smooth.<|im_start|></think><answer>A</answer>")
        Parsed(verdict=None, loose_verdict=None, thinking=None)
    """
    return says_nothing(text) or Parsed(
        verdict=LETTERS.get(strict_answer(text) or ""),
        loose_verdict=_loose(last_answer(text)),
        thinking=think_block(text),
    )


def letter_of(label: str) -> str:
    """Return the option that says so.

    Example:
        >>> letter_of("fake")
        'B'
    """
    return next(letter for letter, named in LETTERS.items() if named == label)


class LetterFormat:
    """Reads A or B, or real or fake, between answer tags."""

    name = "Letter"
    form = "<think>REASONING</think><answer>A or B</answer>"
    marks = TAGS

    def parse(self, text: str) -> Parsed:
        """Return what a completion says."""
        return parse_answer(text)

    def truth(self, row: ClipRow) -> str | None:
        """Return the row's label; without one, its own answer where that is A or B."""
        return row.label or _loose(row.answer)


def _loose(content: str | None) -> str | None:
    matched = _LOOSE.fullmatch(content.casefold()) if content is not None else None
    if matched is None:
        return None
    named = {matched["word"], LETTERS.get((matched["letter"] or "").upper())} - {None}
    return named.pop() if len(named) == 1 else None
