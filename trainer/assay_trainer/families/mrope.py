"""Positions of the tokens of a prompt with images and videos, by the rule that vLLM uses.

transformers 5 continues the text after a video at `start + max(height, width) / 2`; vLLM (and
transformers 4) at the largest position on any axis plus one. They differ as soon as a video has
more temporal slices than its larger side, so sampler and learner would disagree. Every forward of
the learner takes its positions from here.

Axes used in this file:
    axis    time, height, width
    token   positions of one sequence
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class VisualSpan:
    """The merged visual tokens of one image or video inside a prompt."""

    start: int
    """Index of its first token in the prompt."""
    grid: tuple[int, int, int]
    """Temporal slices, rows and columns after merging."""
    seconds_per_slice: float
    """Seconds from one temporal slice to the next; 0 for an image."""

    @property
    def num_tokens(self) -> int:
        """Tokens that the span takes in the prompt."""
        return self.grid[0] * self.grid[1] * self.grid[2]


def mrope_positions(
    num_tokens: int, spans: Sequence[VisualSpan], tokens_per_second: float
) -> Int[Tensor, "axis token"]:
    """Give each token its position on the time, height and width axes.

    Text counts on by one on all axes. Inside a span the axes are those of its grid; the text
    after it continues at the largest position of any axis plus one.

    Args:
        num_tokens: length of the whole sequence, prompt and completion.
        spans: visual spans in the order in which they occur.
        tokens_per_second: the model's `vision_config.tokens_per_second`.

    Source:
        vLLM 0.32, `Qwen2_5_VLForConditionalGeneration.get_mrope_input_positions`.

    Example:
        >>> span = VisualSpan(start=1, grid=(2, 1, 2), seconds_per_slice=0.5)
        >>> mrope_positions(7, [span], tokens_per_second=2).tolist()
        [[0, 1, 1, 2, 2, 3, 4], [0, 1, 1, 1, 1, 3, 4], [0, 1, 2, 1, 2, 3, 4]]
    """
    parts: list[np.ndarray] = []
    done, position = 0, 0
    for span in spans:
        text = _text(position, span.start - done)
        position += span.start - done
        grid = np.indices(span.grid).reshape(3, -1)
        # float32 first: that is how the processors hand the interval to vLLM.
        interval = float(np.float32(span.seconds_per_slice)) * tokens_per_second
        grid[0] = (grid[0] * interval).astype(np.int64)
        parts += [text, grid + position]
        position += int(grid.max()) + 1
        done = span.start + span.num_tokens
    parts.append(_text(position, num_tokens - done))
    return torch.from_numpy(np.concatenate(parts, axis=1))


def _text(start: int, length: int) -> np.ndarray:
    return np.broadcast_to(np.arange(length), (3, length)) + start
