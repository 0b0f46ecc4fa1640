"""Dr. GRPO policy loss: no length of the batch is in what it is divided by.

Axes used in this file:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included
"""

from jaxtyping import Bool, Float
from torch import Tensor

from assay_trainer.algorithms.losses.dapo import PolicyLoss, dapo_loss


def dr_grpo_loss(
    logprobs: Float[Tensor, "batch token"],
    old_logprobs: Float[Tensor, "batch token"],
    advantages: Float[Tensor, "batch token"],
    importance_weights: Float[Tensor, "batch token"],
    completion_mask: Bool[Tensor, "batch token"],
    *,
    max_batch_tokens: int,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> PolicyLoss:
    """Compute the clipped surrogate loss as a sum over tokens, divided by a constant.

    The constant is the number of completions times the longest allowed length, so that a token
    pulls alike in every batch, whatever the lengths of the others.

    Args:
        logprobs: as of `dapo_loss`, and so are the other tensors and the clip.
        old_logprobs: see there.
        advantages: see there; by the paper rewards less their group's mean, without a deviation.
        importance_weights: see there.
        completion_mask: see there.
        max_batch_tokens: completions of the whole global batch, all ranks and accumulation steps,
            times the longest completion that may be sampled, in tokens.
        clip_low: the ratio counts as no less than ``1 - clip_low``.
        clip_high: the ratio counts as no more than ``1 + clip_high``.

    Returns:
        The loss, with gradient, and the share of tokens whose gain the clip lowered.

    Raises:
        ValueError: ``max_batch_tokens`` is not positive.

    Source:
        Liu et al. 2025, "Understanding R1-Zero-Like Training", arXiv:2503.20783v2, section 3.2,
        with the constant of TRL's `dr_grpo`. The importance weight is not in the paper.

    Example:
        >>> import torch
        >>> logprobs, ones = torch.zeros(1, 2), torch.ones(1, 2)
        >>> dr_grpo_loss(
        ...     logprobs, logprobs, ones, ones, ones.bool(), max_batch_tokens=8
        ... ).loss.item()
        -0.25
    """
    if max_batch_tokens <= 0:
        raise ValueError(f"max_batch_tokens must be positive, got {max_batch_tokens}")
    return dapo_loss(
        logprobs,
        old_logprobs,
        advantages,
        importance_weights,
        completion_mask,
        num_tokens=max_batch_tokens,
        clip_low=clip_low,
        clip_high=clip_high,
    )
