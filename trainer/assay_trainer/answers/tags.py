"""The blocks of a completion: `<think>reasoning</think><answer>answer</answer>`."""

import re

from assay_api.control_tokens import control_tokens
from assay_trainer.answers.parsed import NOTHING, Parsed

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the tagged answer formats are told by."""

_STRICT = re.compile(r"\s*<think>.*</think>\s*<answer>(?P<answer>.*)</answer>\s*", re.DOTALL)
_THINK = re.compile(r"<think>(?P<thinking>.*)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)


def strict_answer(text: str) -> str | None:
    """Return what is between the answer tags, if the text is one block of each kind and no more."""
    matched = _STRICT.fullmatch(text)
    if matched is None or any(text.count(tag) != 1 for tag in TAGS):
        return None
    return matched["answer"].strip()


def last_answer(text: str) -> str | None:
    """Return what is between the last pair of answer tags, whatever is around them."""
    contents = _ANSWER.findall(text)
    return contents[-1].strip() if contents else None


def think_block(text: str) -> str | None:
    """Return the text of the think block; None unless there is exactly one."""
    matched = _THINK.search(text)
    if matched is None or any(text.count(tag) != 1 for tag in TAGS[:2]):
        return None
    return matched["thinking"]


def says_nothing(text: str) -> Parsed | None:
    """Return the empty reading of a completion with a token of control in it; None: it has none.

    What such a completion shows as text the model's own turn does not hold.
    """
    return NOTHING if control_tokens(text) else None


def missing_marks(marks: tuple[str, ...], prompt: str) -> tuple[str, ...]:
    """Return the marks of an answer format that a prompt, as the model sees it, doesn't name.

    Example:
        >>> missing_marks(TAGS, "Reason between <think> and </think>, then answer.")
        ('<answer>', '</answer>')
    """
    return tuple(mark for mark in marks if mark not in prompt)
