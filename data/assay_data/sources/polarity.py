"""What an answer says of a video's truth. Which answer means which class is explicit everywhere."""

import re

from assay_api.dataset import Polarity
from assay_data.dataset.rows import FAKE, REAL
from assay_data.drops import DropReason
from assay_data.sources.row import BadRow

YES_IS_FAKE = Polarity(real="no", fake="yes")
"""Fact-R1 asks whether the news was manipulated."""
B_IS_FAKE = Polarity(real="A", fake="B")
"""BusterX asks `A) real B) fake`."""

_ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
_OPTIONS = re.compile(r"\bA[).:]\s*real\b.{0,40}\bB[).:]\s*fake\b", re.DOTALL | re.IGNORECASE)


def answer_of(text: str) -> str:
    """Return what the last answer tags of a text hold, or all of it where there are none.

    Example:
        >>> answer_of("<think>So.</think><answer> No. </answer>"), answer_of(" 42 ")
        ('No.', '42')
    """
    contents = _ANSWER.findall(text)
    return str(contents[-1] if contents else text).strip()


def plain(answer: str) -> str:
    """Return an answer without tags, outer space, case and final period.

    Example:
        >>> [plain(text) for text in ("<answer> No. </answer>", " No.", "NO")]
        ['no', 'no', 'no']
    """
    return answer_of(answer).casefold().removesuffix(".").strip()


def classify(answer: str, polarity: Polarity) -> tuple[str, str]:
    """Return label and answer, in the polarity's spelling, that an answer means.

    Raises:
        BadRow: it is neither of the two.
    """
    found = plain(answer)
    if found == plain(polarity.fake):
        return FAKE, polarity.fake
    if found == plain(polarity.real):
        return REAL, polarity.real
    raise BadRow(
        DropReason.UNKNOWN_LABEL,
        f"answer {answer[:80]!r}: must be {polarity.real} ({REAL}) or {polarity.fake} ({FAKE})",
    )


def asked_polarity(problem: str) -> Polarity | None:
    """Return the polarity of a question that spells out its options; None for other questions.

    Example:
        >>> asked_polarity("Q: Is it? Options: A) real B) fake") is B_IS_FAKE
        True
        >>> asked_polarity("What is it? A) a cat B) a fake cat") is None
        True
    """
    return B_IS_FAKE if _OPTIONS.search(problem) else None
