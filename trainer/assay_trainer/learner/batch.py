"""Completions, with their prompts, as the tensors of one micro-batch.

Axes used in this file:
    axis    time, height, width
    batch   completions in the micro-batch
    token   prompt and completion, right-padded
    out     completion positions, right-padded; the prompt is not included
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from assay_trainer.models.inputs import EncodedPrompt, Visual
from assay_trainer.models.positions import mrope_positions


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt and the tokens that follow it."""

    prompt: EncodedPrompt
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Completions side by side. Rows of one group share their visual, which is held once."""

    input_ids: Int[Tensor, "batch token"]
    positions: Int[Tensor, "3 batch token"]
    predictor: Int[Tensor, "batch out"]
    """Index of the token whose hidden state predicts each completion token."""
    completion_ids: Int[Tensor, "batch out"]
    completion_mask: Bool[Tensor, "batch out"]
    visuals: tuple[Visual, ...]
    visual_of_row: tuple[int, ...]

    def to(self, device: torch.device) -> "MicroBatch":
        """Return the same on another device."""
        return MicroBatch(
            input_ids=self.input_ids.to(device),
            positions=self.positions.to(device),
            predictor=self.predictor.to(device),
            completion_ids=self.completion_ids.to(device),
            completion_mask=self.completion_mask.to(device),
            visuals=tuple(visual.to(device) for visual in self.visuals),
            visual_of_row=self.visual_of_row,
        )


def collate(
    completions: Sequence[Completion], *, pad_id: int, tokens_per_second: float
) -> MicroBatch:
    """Stack completions. Padding follows the completion, so that no position moves."""
    visuals: dict[int, int] = {}
    unique: list[Visual] = []
    for row in completions:
        if id(row.prompt.visual) not in visuals:
            visuals[id(row.prompt.visual)] = len(unique)
            unique.append(row.prompt.visual)
    ids = [torch.tensor(row.prompt.token_ids + row.token_ids) for row in completions]
    positions = [
        mrope_positions(len(row_ids), row.prompt.spans, tokens_per_second).T
        for row, row_ids in zip(completions, ids, strict=True)
    ]
    outs = [torch.tensor(row.token_ids) for row in completions]
    predictors = [
        torch.arange(len(row.token_ids)) + len(row.prompt.token_ids) - 1 for row in completions
    ]
    mask = [torch.ones(len(out), dtype=torch.bool) for out in outs]
    return MicroBatch(
        input_ids=pad_sequence(ids, batch_first=True, padding_value=pad_id),
        positions=pad_sequence(positions, batch_first=True).permute(2, 0, 1),
        predictor=pad_sequence(predictors, batch_first=True),
        completion_ids=pad_sequence(outs, batch_first=True, padding_value=pad_id),
        completion_mask=pad_sequence(mask, batch_first=True, padding_value=False),
        visuals=tuple(unique),
        visual_of_row=tuple(visuals[id(row.prompt.visual)] for row in completions),
    )
