"""How long rows' own prompts are, in tokens, and which of them the model has room for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay_api import InvalidInput, ThinkingMode
from assay_api.prompt import Prompt
from assay_data.dataset import ClipRow
from assay_data.video.frames import PATCH_PIXELS
from assay_trainer.prompts.row_prompts import RowPrompts

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MeasuredPrompts:
    """Rows, and how many tokens the longest prompt about each is, in the order of the rows."""

    rows: tuple[ClipRow, ...]
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(self.lengths)

    def within(self, room: int, part: str) -> "MeasuredPrompts":
        """Return the rows whose prompts are no longer; say how many are left out.

        Args:
            room: tokens of a prompt, at most.
            part: name of the part of the dataset, for messages.

        Raises:
            InvalidInput: none has room.
        """
        kept = [pair for pair in zip(self.rows, self.lengths, strict=True) if pair[1] <= room]
        num_long = len(self.rows) - len(kept)
        if not kept:
            raise InvalidInput(
                f"spec.prompt.maxTokens: no row of {part} can be asked about: the shortest of "
                f"{len(self.rows)} prompts has {min(self.lengths, default=0)} tokens, and there is "
                f"room for {room}; raise spec.prompt.maxTokens, lower maxCompletionTokens, or use "
                "a model with a longer context"
            )
        if num_long:
            _LOG.warning(
                "%d of %d rows of %s are left out: their prompts have more than %d tokens, at most "
                "%d (spec.prompt.maxTokens, or the model's context less the longest completion)",
                *(num_long, len(self.rows), part, room, self.longest),
            )
        rows, lengths = zip(*kept, strict=True)
        return MeasuredPrompts(rows, lengths)


def room_for_prompts(prompt: Prompt, config: Any, max_completion_tokens: int) -> int:
    """Return how many tokens a prompt may have.

    Args:
        prompt: of the stage, which may say it.
        config: the model's, as transformers has it.
        max_completion_tokens: room that completions need.

    Raises:
        InvalidInput: with the longest completion, such a prompt exceeds the model's context.
    """
    context = int(config.get_text_config().max_position_embeddings)
    room = context - max_completion_tokens
    if (prompt.max_tokens or 1) > room:
        raise InvalidInput(
            f"spec.prompt.maxTokens: {prompt.max_tokens or 'unset'}, and maxCompletionTokens "
            f"{max_completion_tokens}: the model's context is {context} tokens; lower one of them"
        )
    return prompt.max_tokens or room


def measure_prompts(
    prompts: RowPrompts, rows: Sequence[ClipRow], modes: Sequence[ThinkingMode], tokenizer: Any
) -> MeasuredPrompts:
    """Count the tokens of each row's prompt, in the mode in which it is longest."""
    lengths = [0] * len(rows)
    for mode in dict.fromkeys(modes):
        texts = [prompts.item(row, mode).text for row in rows]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        lengths = [max(pair) for pair in zip(lengths, map(len, encoded), strict=True)]
    return MeasuredPrompts(
        tuple(rows),
        tuple(length + picture_tokens(row) for row, length in zip(rows, lengths, strict=True)),
    )


def picture_tokens(row: ClipRow) -> int:
    """Return the tokens of a row's frames as pictures, besides the one that marks each."""
    each = (row.width // PATCH_PIXELS) * (row.height // PATCH_PIXELS)
    return len(row.timestamps_seconds) * max(each - 1, 0)
