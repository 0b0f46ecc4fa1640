"""The answer format Text: `<think>reasoning</think><answer>any words</answer>`."""

from assay_data.dataset import ClipRow
from assay_trainer.answers.parsed import Parsed
from assay_trainer.answers.tags import TAGS, last_answer, says_nothing, strict_answer, think_block


class TextFormat:
    """Reads whatever is between answer tags; nothing but white space is no answer.

    Example:
        >>> TextFormat().parse("<think>He did.</think> <answer> Kim Marton </answer>").verdict
        'Kim Marton'
        >>> TextFormat().parse("So it is <answer>Kim Marton</answer>.")
        Parsed(verdict=None, loose_verdict='Kim Marton', thinking=None)
    """

    name = "Text"
    form = "<think>REASONING</think><answer>ANSWER</answer>"
    marks = TAGS

    def parse(self, text: str) -> Parsed:
        """Return what a completion says."""
        return says_nothing(text) or Parsed(
            verdict=strict_answer(text) or None,
            loose_verdict=last_answer(text) or None,
            thinking=think_block(text),
        )

    def truth(self, row: ClipRow) -> str | None:
        """Return the row's answer."""
        return row.answer.strip() or None
