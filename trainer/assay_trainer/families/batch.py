"""Completions, with their prompts, as the tensors of one micro-batch.

Axes used in this file:
    axis    axes of a position: one for text, or time, height and width
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

from assay_trainer.families.inputs import EncodedPrompt, Visual


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt and the tokens that follow it."""

    prompt: EncodedPrompt
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Completions side by side. Rows of one group share their visual, which is held once."""

    input_ids: Int[Tensor, "batch token"]
    positions: Int[Tensor, "axis batch token"]
    predictor: Int[Tensor, "batch out"]
    """Index of the token whose hidden state predicts each completion token."""
    completion_ids: Int[Tensor, "batch out"]
    completion_mask: Bool[Tensor, "batch out"]
    visuals: tuple[Visual, ...]
    visual_of_row: tuple[int | None, ...]
    """Place of each row's visual; None: the row is text."""

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


def collate(completions: Sequence[Completion], *, pad_id: int) -> MicroBatch:
    """Stack completions. Padding follows the completion, so that no position moves."""
    visuals: dict[int, int] = {}
    unique: list[Visual] = []
    for row in completions:
        visual = row.prompt.visual
        if visual is not None and id(visual) not in visuals:
            visuals[id(visual)] = len(unique)
            unique.append(visual)
    ids = [torch.tensor(row.prompt.token_ids + row.token_ids) for row in completions]
    longest = max(map(len, ids))
    outs = [torch.tensor(row.token_ids) for row in completions]
    predictors = [
        torch.arange(len(row.token_ids)) + len(row.prompt.token_ids) - 1 for row in completions
    ]
    mask = [torch.ones(len(out), dtype=torch.bool) for out in outs]
    return MicroBatch(
        input_ids=pad_sequence(ids, batch_first=True, padding_value=pad_id),
        positions=torch.stack([_positions(row.prompt, longest) for row in completions], dim=1),
        predictor=pad_sequence(predictors, batch_first=True),
        completion_ids=pad_sequence(outs, batch_first=True, padding_value=pad_id),
        completion_mask=pad_sequence(mask, batch_first=True, padding_value=False),
        visuals=tuple(unique),
        visual_of_row=tuple(visuals.get(id(row.prompt.visual)) for row in completions),
    )


def _positions(prompt: EncodedPrompt, num_tokens: int) -> Int[Tensor, "axis token"]:
    """Count on after the prompt, over padding too: a step back would begin another sequence."""
    axes, start = prompt.positions.shape
    after = torch.arange(num_tokens - start) + prompt.next_position
    return torch.cat([prompt.positions, after.expand(axes, -1)], dim=1)
