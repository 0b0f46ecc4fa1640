"""GRPO policy loss: every completion weighs the same, however long it is.

Axes used in this file:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included
"""

from jaxtyping import Bool, Float
from torch import Tensor

from assay_trainer.algorithms.losses.dapo import PolicyLoss, dapo_loss


def grpo_loss(
    logprobs: Float[Tensor, "batch token"],
    old_logprobs: Float[Tensor, "batch token"],
    advantages: Float[Tensor, "batch token"],
    importance_weights: Float[Tensor, "batch token"],
    completion_mask: Bool[Tensor, "batch token"],
    *,
    num_completions: int,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> PolicyLoss:
    """Compute the clipped surrogate loss as a mean over completions of the mean of their tokens.

    A token of a completion of 4,000 tokens therefore pulls a tenth as hard as one of 400.

    Args:
        logprobs: as of `dapo_loss`, and so are the other tensors and the clip.
        old_logprobs: see there.
        advantages: see there.
        importance_weights: see there.
        completion_mask: see there.
        num_completions: completions of the whole global batch, all ranks and accumulation steps.
        clip_low: the ratio counts as no less than ``1 - clip_low``.
        clip_high: the ratio counts as no more than ``1 + clip_high``.

    Returns:
        The loss, with gradient, and the share of tokens whose gain the clip lowered.

    Raises:
        ValueError: ``num_completions`` is not positive.

    Source:
        Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300v3, equation 3, without its KL term. The
        importance weight is not in the paper.

    Example:
        >>> import torch
        >>> logprobs = torch.zeros(2, 4)
        >>> mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
        >>> advantages = torch.tensor([[1.0], [-3.0]]).expand(2, 4)
        >>> ones = torch.ones(2, 4)
        >>> grpo_loss(logprobs, logprobs, advantages, ones, mask, num_completions=2).loss.item()
        1.0
    """
    if num_completions <= 0:
        raise ValueError(f"num_completions must be positive, got {num_completions}")
    lengths = completion_mask.sum(dim=-1, keepdim=True).clamp(min=1)
    return dapo_loss(
        logprobs,
        old_logprobs,
        advantages,
        importance_weights / lengths,
        completion_mask,
        num_tokens=num_completions,
        clip_low=clip_low,
        clip_high=clip_high,
    )
