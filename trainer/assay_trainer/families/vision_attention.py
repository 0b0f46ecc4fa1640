"""Attention within the windows of the vision tower, windows of one size in one call.

transformers' own calls SDPA for each window: for small frames on a CPU that is hundreds of calls,
and a large part of the time of a step that trains the vision tower.

Axes used in this file:
    head    attention heads
    patch   patches of all windows, one window after another
    size    width of a head
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Qwen2_5_VLForConditionalGeneration

_NAME = "assay_flash_windows"
"""What is called flash is told where windows begin, instead of being called once for each."""


def attend_by_window_size(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Make the model's vision tower compute its attention by `windowed_attention`."""
    AttentionInterface.register(_NAME, windowed_attention)
    model.model.visual.config._attn_implementation = _NAME


def windowed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 head patch size"],
    key: Float[Tensor, "1 head patch size"],
    value: Float[Tensor, "1 head patch size"],
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Int[Tensor, " bounds"],
    **_: Any,
) -> tuple[Float[Tensor, "1 patch head size"], None]:
    """Let each patch attend to the patches of its window; `cu_seq_lens_q` bounds the windows."""
    sizes = cu_seq_lens_q.diff().tolist()
    windows = [torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)]
    attended: dict[int, Tensor] = {}
    for size in dict.fromkeys(sizes):
        members = [index for index, other in enumerate(sizes) if other == size]
        q, k, v = (torch.cat([tensor[index] for index in members]) for tensor in windows)
        out = scaled_dot_product_attention(q, k, v, scale=scaling)
        attended.update(zip(members, out[:, None], strict=True))
    return torch.cat([attended[index] for index in range(len(sizes))], dim=2).transpose(1, 2), None
