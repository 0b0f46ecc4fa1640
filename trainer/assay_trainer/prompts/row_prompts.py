"""From a row of a dataset to what the model is asked about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay_api import ThinkingMode
from assay_api.prompt import Prompt, PromptSource
from assay_data.dataset import ClipRow
from assay_data.dataset.rows import IMAGE_MARK, Turn
from assay_trainer.chat import IMAGE, asked, detection_prompt
from assay_trainer.records import PromptItem, Shown

THINK = "<think>"

Render = Callable[[Sequence[Turn]], str]
"""Returns a conversation in the model's chat format, up to where its answer begins."""


@dataclass(frozen=True, slots=True)
class RowPrompts:
    """Asks about rows as a stage's prompt says."""

    prompt: Prompt
    render: Render

    def item(self, row: ClipRow, mode: ThinkingMode) -> PromptItem:
        """Put the question about a row in one mode."""
        if self.prompt.source is PromptSource.QUESTION:
            text, question = detection_prompt(self.prompt, mode)
            return PromptItem(row, mode, text, question)
        text = self._text(row, mode).replace(IMAGE_MARK, IMAGE)
        shows = Shown.PICTURES if row.timestamps_seconds else Shown.NOTHING
        return PromptItem(row, mode, text, row.problem, shows, opening_of(text))

    def _text(self, row: ClipRow, mode: ThinkingMode) -> str:
        match self.prompt.source:
            case PromptSource.RAW:
                return "\n\n".join(turn.content for turn in turns_of(row))
            case PromptSource.MESSAGES:
                return self.render(turns_of(row))
        system = (Turn("system", self.prompt.system),) if self.prompt.system else ()
        user = Turn("user", asked(self.prompt, row.problem, mode))
        return self.render((*system, user))


def turns_of(row: ClipRow) -> tuple[Turn, ...]:
    """Return the row's conversation; the question is one, where the row has no other."""
    return row.prompt or (Turn("user", row.problem),)


def opening_of(text: str) -> str:
    r"""Return what of a completion a prompt already holds.

    Example:
        >>> opening_of("User: why?\nAssistant: Let me think. <think>")
        '<think>'
        >>> opening_of("Answer between <think> and </think>.")
        ''
    """
    return THINK if text.rstrip().endswith(THINK) else ""
