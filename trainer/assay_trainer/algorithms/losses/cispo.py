"""CISPO: the clip bounds a token's weight, and never cuts off its gradient."""

import torch

from assay_trainer.algorithms.losses.policy_loss import (
    BatchSize,
    Clip,
    Gain,
    PolicyLoss,
    PolicyTokens,
    log_ratio,
    token_mean,
)


def cispo_loss(tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
    """Compute the policy gradient's loss, weighted by each token's clipped ratio.

    The ratio is a weight without gradient: a token outside of the bounds still learns.

    Source:
        MiniMax 2025, "MiniMax-M1", arXiv:2506.13585v1, equations 4 and 5. The upper bound is
        `1 + clip.high`, as in verl and EasyR1; TRL's `epsilon_high` is the bound itself.

    Example:
        >>> import torch
        >>> new, mask = torch.log(torch.tensor([[0.5, 0.1]])), torch.ones(1, 2, dtype=torch.bool)
        >>> old = torch.log(torch.tensor([[0.1, 0.1]]))
        >>> tokens = PolicyTokens(new, old, torch.ones(1, 2), torch.ones(1, 2), mask)
        >>> out = cispo_loss(tokens, BatchSize(2, 1, 8), Clip(1.0, 2.0))
        >>> round(out.loss.item(), 3)  # -(3 * log(0.5) + 1 * log(0.1)) / 2
        2.191
    """
    ratio = log_ratio(tokens).exp().detach()
    bounded = ratio.clamp(1 - clip.low, 1 + clip.high)
    logprobs = torch.where(tokens.mask, tokens.logprobs, 0.0)
    advantages = torch.where(tokens.mask, tokens.advantages, 0.0)
    weights = torch.where(tokens.mask, tokens.importance_weights, 0.0)
    gain = Gain(bounded * advantages * logprobs * weights, (bounded != ratio) & tokens.mask)
    return gain.loss(tokens, size, token_mean)
