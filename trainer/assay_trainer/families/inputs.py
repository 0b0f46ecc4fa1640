"""What the model's forward takes of a prompt, whatever the kind of model.

Axes used in this file:
    axis    axes of a position: one for text, or time, height and width
    token   tokens of the prompt
    patch   14 x 14 pixel patches (two frames deep), as the vision tower takes them
    value   numbers of one patch
    media   pictures or videos
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Visual:
    """What the vision tower sees of one prompt: one video, or several images."""

    kind: Literal["video", "image"]
    pixel_values: Float[Tensor, "patch value"]
    grid_thw: Int[Tensor, "media 3"]

    def to(self, device: torch.device) -> "Visual":
        """Return the same on another device."""
        return Visual(self.kind, self.pixel_values.to(device), self.grid_thw.to(device))


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as token ids, with its visual tokens in place."""

    token_ids: tuple[int, ...]
    positions: Int[Tensor, "axis token"]
    visual: Visual | None = None
    """None: it is text only."""

    @property
    def next_position(self) -> int:
        """Position of the completion's first token, on all axes; it counts on from there."""
        return int(self.positions.max()) + 1


def completion_text(tokenizer: Any, token_ids: Sequence[int], *, ended: bool) -> str:
    """Return all that a model wrote, as text: special tokens and broken characters included.

    Args:
        tokenizer: the model's.
        token_ids: of the completion.
        ended: whether the last token is the one that ended it; that one alone is left off.
    """
    kept = token_ids[:-1] if ended else token_ids
    text: str = tokenizer.decode(
        list(kept), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
