"""The stream of prompts: which clip is asked about at each place of the stream."""

from collections.abc import Sequence

from assay_api import ThinkingMode
from assay_data.dataset import ClipRow
from assay_data.dataset.order import ShuffledStream
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import PromptItem


class PromptStream:
    """Prompts about the rows of a dataset, in the thinking modes that are asked for."""

    def __init__(self, rows: Sequence[ClipRow], prompts: RowPrompts, seed: int) -> None:
        """Ask about these rows, both classes equally often, in a new order each time round."""
        self._stream = ShuffledStream(balanced(rows), seed)
        self._prompts = prompts

    def draw(self, cursor: int, modes: Sequence[ThinkingMode]) -> list[PromptItem]:
        """Return the prompts at `cursor` and the places after it, one in each of these modes."""
        drawn = self._stream.draw(cursor, len(modes))
        return [self._prompts.item(row, mode) for (_, row), mode in zip(drawn, modes, strict=True)]


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
