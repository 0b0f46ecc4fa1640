"""Weights that make up for the difference between the sampler and the learner.

Axes used in this file:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def importance_weights(
    learner_logprobs: Float[Tensor, "batch token"],
    sampler_logprobs: Float[Tensor, "batch token"],
    completion_mask: Bool[Tensor, "batch token"],
    *,
    cap: float,
) -> Float[Tensor, "batch token"]:
    """Compute how much likelier each sampled token is under the learner, at most `cap`.

    Both run the same weights; their kernels round differently, and a token that the sampler drew
    although the learner finds it unlikely is weighed down. The cap bounds the variance.

    Args:
        learner_logprobs: log-probability in nats of each sampled token as the learner computed it
            before the update. Any gradient is cut.
        sampler_logprobs: the same as the sampler drew it, at the same temperature and with the
            same tokens banned.
        completion_mask: true on tokens the policy sampled.
        cap: largest weight, at least 1.

    Returns:
        Weights without gradient; 1 at padding.

    Raises:
        ValueError: `cap` is less than 1, which would weigh tokens down that both agree on.

    Source:
        Truncated importance sampling, per token: Yao et al. 2025, "Your efficient RL framework
        secretly brings you off-policy RL training".

    Example:
        >>> learner = torch.log(torch.tensor([[0.3, 0.5]]))
        >>> sampler = torch.log(torch.tensor([[0.6, 0.1]]))
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> importance_weights(learner, sampler, mask, cap=2.0)
        tensor([[0.5000, 2.0000]])
    """
    if not cap >= 1:
        raise ValueError(f"cap must be at least 1, got {cap}")
    # Mask before exp: what stands at padding may be anything, infinities included.
    difference = learner_logprobs.detach() - sampler_logprobs.detach()
    return torch.where(completion_mask, difference, 0.0).exp().clamp(max=cap)
