"""Reads the verdict out of a completion: strictly for rewards, loosely for comparison.

The answer format is ``<think>reasoning</think><answer>A</answer>``, where A is real and B is fake.
A completion with a token of control in it, such as `<|im_start|>`, says nothing by either reading:
what it shows as text the model's own turn does not hold.
"""

import re
from dataclasses import dataclass

from assay_api.control_tokens import control_tokens
from assay_trainer.records import FAKE, REAL

LETTERS = {"A": REAL, "B": FAKE}
"""The options of the multiple-choice question."""

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the answer format, and with it the rewards format and accuracy, is told by."""

_STRICT = re.compile(
    r"\s*<think>.*</think>\s*<answer>\s*(?P<letter>[AB])\s*</answer>\s*", re.DOTALL
)
_THINK = re.compile(r"<think>(?P<thinking>.*)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
_LOOSE = re.compile(r"\W*(?:(?P<letter>[ab])\b)?\W*(?P<word>real|fake)?\W*")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says."""

    verdict: str | None
    """`real` or `fake` if the whole completion keeps to the format, else None."""
    loose_verdict: str | None
    """`real` or `fake` if the last answer tag names one, whatever is around it, else None."""
    thinking: str | None
    """Text of the think block; None unless there is exactly one, and no token of control."""

    @property
    def well_formed(self) -> bool:
        """Whether the whole completion keeps to the format; only then there is a verdict."""
        return self.verdict is not None

    @property
    def has_thinking(self) -> bool:
        """Whether the think block holds something other than white space."""
        return self.thinking is not None and bool(self.thinking.strip())


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
    if control_tokens(text):
        return Parsed(verdict=None, loose_verdict=None, thinking=None)
    return Parsed(verdict=_strict(text), loose_verdict=_loose(text), thinking=_thinking(text))


def letter_of(label: str) -> str:
    """Return the option that says so.

    Example:
        >>> letter_of("fake")
        'B'
    """
    return next(letter for letter, named in LETTERS.items() if named == label)


def missing_tags(prompt: str) -> tuple[str, ...]:
    """Return the tags of the answer format that a prompt, as the model sees it, doesn't name.

    Example:
        >>> missing_tags("Reason between <think> and </think>, then answer.")
        ('<answer>', '</answer>')
    """
    return tuple(tag for tag in TAGS if tag not in prompt)


def _strict(text: str) -> str | None:
    matched = _STRICT.fullmatch(text)
    if matched is None or any(text.count(tag) != 1 for tag in TAGS):
        return None
    return LETTERS[matched["letter"]]


def _loose(text: str) -> str | None:
    contents = _ANSWER.findall(text)
    matched = _LOOSE.fullmatch(contents[-1].casefold()) if contents else None
    if matched is None:
        return None
    named = {matched["word"], LETTERS.get((matched["letter"] or "").upper())} - {None}
    return named.pop() if len(named) == 1 else None


def _thinking(text: str) -> str | None:
    matched = _THINK.search(text)
    if matched is None or any(text.count(tag) != 1 for tag in TAGS[:2]):
        return None
    return matched["thinking"]
