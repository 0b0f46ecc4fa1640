"""The stream of prompts: which clip is asked about in which mode, at each place of the stream."""

from collections.abc import Sequence

from assay_api import ThinkingMode
from assay_api.prompt import Prompt
from assay_data.dataset import ClipRow
from assay_data.dataset.order import ShuffledStream
from assay_trainer.chat import detection_prompt
from assay_trainer.records import PromptItem


class PromptStream:
    """Prompts about the rows of a dataset, in all thinking modes in turn."""

    def __init__(
        self, rows: Sequence[ClipRow], prompt: Prompt, modes: Sequence[ThinkingMode], seed: int
    ) -> None:
        """Ask about these rows, both classes equally often; clips change modes by the round."""
        self._stream = ShuffledStream(balanced(rows), seed)
        self._prompt = prompt
        self._modes = tuple(modes)

    def draw(self, cursor: int, count: int) -> list[PromptItem]:
        """Return the prompts at `cursor` and the places after it."""
        drawn = self._stream.draw(cursor, count)
        return [
            prompt_item(row, self._prompt, self._modes[(place + turn) % len(self._modes)])
            for place, (turn, row) in enumerate(drawn, start=cursor)
        ]


def balanced(rows: Sequence[ClipRow]) -> list[ClipRow]:
    """Return the rows with those of the smaller class repeated, until both are as many.

    Rewarded by accuracy on uneven classes, a model that sees little learns to say the larger one.
    """
    by_label: dict[str, list[ClipRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    most = max(len(members) for members in by_label.values())
    extra = [
        members[index % len(members)]
        for _, members in sorted(by_label.items())
        for index in range(most - len(members))
    ]
    return [*rows, *extra]


def prompt_item(row: ClipRow, prompt: Prompt, mode: ThinkingMode) -> PromptItem:
    """Put the question about one row in one mode."""
    text, question = detection_prompt(prompt, mode)
    return PromptItem(row_id=row.row_id, label=row.label, mode=mode, text=text, question=question)
