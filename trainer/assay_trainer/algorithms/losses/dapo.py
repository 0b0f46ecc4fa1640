"""DAPO policy loss on completions sampled in groups.

Axes used in this file:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss to minimise and the share of tokens its clip held back."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def dapo_loss(
    logprobs: Float[Tensor, "batch token"],
    old_logprobs: Float[Tensor, "batch token"],
    advantages: Float[Tensor, "batch token"],
    importance_weights: Float[Tensor, "batch token"],
    completion_mask: Bool[Tensor, "batch token"],
    *,
    num_tokens: int,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> PolicyLoss:
    """Compute the clipped surrogate loss in which every sampled token weighs the same.

    The sum runs over all sampled tokens and is divided once, by ``num_tokens``. A
    completion of 4,000 tokens therefore pulls ten times as hard as one of 400; dividing
    per completion first (as GRPO does) would make them pull equally.

    Args:
        logprobs: log-probability in nats of each sampled token under the policy being
            trained. Carries the gradient.
        old_logprobs: the same as the learner computed it before the update. With one update per
            batch that is ``logprobs.detach()``, and the ratio is 1 with the gradient of
            ``logprobs``.
        advantages: of each token, in standard deviations of the rewards of its completion's
            group; the same throughout a completion unless its steps are told apart. Detached.
        importance_weights: how much likelier each token was under ``old_logprobs`` than under the
            sampler that drew it. Detached. Outside of the clip: it corrects for who sampled and
            is no part of the step that the clip limits.
        completion_mask: true on tokens the policy sampled; false on padding. What the other
            tensors hold there does not matter.
        num_tokens: true entries of the mask over the whole global batch, all ranks and
            accumulation steps, so that micro-batch losses add up to the batch loss.
        clip_low: the ratio counts as no less than ``1 - clip_low``.
        clip_high: the ratio counts as no more than ``1 + clip_high``; larger than
            ``clip_low`` so that unlikely tokens can still gain probability.

    Returns:
        The loss, with gradient, and the fraction of this micro-batch's sampled tokens
        whose gain the clip lowered, without.

    Raises:
        ValueError: ``num_tokens`` is not positive: nothing in the batch was sampled.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1: clip-higher in section 3.1, token-level
        loss in section 3.3. The paper maximises an objective; this is its negative. The
        importance weight is not in the paper.

    Example:
        >>> old = torch.zeros(1, 2)
        >>> new = torch.log(torch.tensor([[1.5, 0.5]]))
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> advantages, weights = torch.ones(1, 2), torch.tensor([[1.0, 2.0]])
        >>> out = dapo_loss(new, old, advantages, weights, mask, num_tokens=2)
        >>> round(out.loss.item(), 3)  # -(1 * min(1.5, 1.28) + 2 * min(0.5, 0.8)) / 2
        -1.14
    """
    if num_tokens <= 0:
        raise ValueError(f"num_tokens must be positive, got {num_tokens}")

    # Mask before exp: masked only afterwards, nan in the padding still reaches the gradient.
    log_ratio = torch.where(completion_mask, logprobs - old_logprobs, 0.0)
    ratio = log_ratio.exp()
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)
    # What stands at padding may be anything.
    advantages = torch.where(completion_mask, advantages, 0.0)
    gain = ratio * advantages
    clipped_gain = clipped_ratio * advantages
    weights = torch.where(completion_mask, importance_weights, 0.0)
    loss = -(torch.minimum(gain, clipped_gain) * weights).sum() / num_tokens

    was_clipped = (clipped_gain < gain) & completion_mask
    clip_fraction = was_clipped.sum() / completion_mask.sum().clamp(min=1)
    return PolicyLoss(loss=loss, clip_fraction=clip_fraction)
