"""DAPO: every sampled token of the batch weighs the same."""

from assay_trainer.algorithms.losses.policy_loss import (
    BatchSize,
    Clip,
    PolicyLoss,
    PolicyTokens,
    clipped_gain,
    log_ratio,
    token_mean,
)


def dapo_loss(tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
    """Compute the clipped surrogate loss in which every sampled token weighs the same.

    The sum runs over all sampled tokens and is divided once, by those of the batch. A completion of
    4,000 tokens therefore pulls ten times as hard as one of 400; dividing per completion first (as
    GRPO does) would make them pull equally. The upper bound of the ratio is the wider one, so that
    unlikely tokens can still gain probability.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1: clip-higher in section 3.1, token-level loss in
        section 3.3. The paper maximises an objective; this is its negative. The importance weight
        is not in the paper.

    Example:
        >>> import torch
        >>> new = torch.log(torch.tensor([[1.5, 0.5]]))
        >>> weights, mask = torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
        >>> tokens = PolicyTokens(new, torch.zeros(1, 2), torch.ones(1, 2), weights, mask)
        >>> out = dapo_loss(tokens, BatchSize(2, 1, 8), Clip(0.2, 0.28))
        >>> round(out.loss.item(), 3)  # -(1 * min(1.5, 1.28) + 2 * min(0.5, 0.8)) / 2
        -1.14
    """
    gain = clipped_gain(tokens, log_ratio(tokens).exp(), clip)
    return gain.loss(tokens, size, token_mean)
