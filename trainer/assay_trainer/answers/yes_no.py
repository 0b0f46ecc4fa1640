"""The answer format YesNo: `<think>reasoning</think><answer>yes</answer>`."""

import re

from assay_data.dataset import ClipRow
from assay_trainer.answers.parsed import Parsed
from assay_trainer.answers.tags import TAGS, last_answer, says_nothing, strict_answer, think_block

_STRICT = re.compile(r"(?P<word>yes|no)\.?")
_LOOSE = re.compile(r"\W*(?P<word>yes|no)\b.*", re.DOTALL)


class YesNoFormat:
    """Reads yes or no between answer tags, in any case; Fact-R1 writes `No.` too.

    Example:
        >>> YesNoFormat().parse("<think>Not now.</think><answer> No. </answer>").verdict
        'no'
        >>> YesNoFormat().parse("<answer>Yes, it is manipulated</answer>").loose_verdict
        'yes'
        >>> YesNoFormat().parse("I know that it is not.").loose_verdict is None
        True
    """

    name = "YesNo"
    form = "<think>REASONING</think><answer>yes or no</answer>"
    marks = TAGS

    def parse(self, text: str) -> Parsed:
        """Return what a completion says; neither reading searches the reasoning."""
        return says_nothing(text) or Parsed(
            verdict=_word(_STRICT, strict_answer(text)),
            loose_verdict=_word(_LOOSE, last_answer(text)),
            thinking=think_block(text),
        )

    def truth(self, row: ClipRow) -> str | None:
        """Return the row's answer; of several lines the first is the answer."""
        first = row.answer.strip().partition("\n")[0]
        return _word(_STRICT, first.removeprefix("<answer>").removesuffix("</answer>").strip())


def _word(pattern: re.Pattern[str], content: str | None) -> str | None:
    matched = pattern.fullmatch(content.casefold()) if content is not None else None
    return matched["word"] if matched else None
