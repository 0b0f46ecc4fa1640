"""GSPO: the ratio, and with it the clip, is one for a whole completion."""

from assay_trainer.algorithms.losses.policy_loss import (
    BatchSize,
    Clip,
    PolicyLoss,
    PolicyTokens,
    clipped_gain,
    completion_mean,
    log_ratio,
    mean_per_completion,
)


def gspo_loss(tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
    """Compute the mean over completions, clipped by the geometric mean of their tokens' ratios.

    That ratio hardly leaves 1: its bounds are three orders of magnitude closer than those of ratios
    of tokens, and with DAPO's nothing would ever be clipped. Each token carries the gradient of its
    own log-probability, so that tokens of one completion may have advantages of their own.

    Source:
        Zheng et al. 2025, "Group Sequence Policy Optimization", arXiv:2507.18071v2: equation 5, in
        the form of tokens of its section 4.3, whose gradient is the same where all tokens have one
        advantage.

    Example:
        >>> import torch
        >>> new, mask = torch.log(torch.tensor([[4.0, 1.0]])), torch.ones(1, 2, dtype=torch.bool)
        >>> tokens = PolicyTokens(new, torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2), mask)
        >>> gspo_loss(tokens, BatchSize(2, 1, 8), Clip(0.5, 1.5)).loss.item()  # -sqrt(4 * 1)
        -2.0
    """
    of_tokens = log_ratio(tokens)
    of_completions = mean_per_completion(of_tokens, tokens.mask)[:, None]
    # Its value is that of the completion, its gradient that of the token.
    ratio = (of_completions.detach() + of_tokens - of_tokens.detach()).exp()
    gain = clipped_gain(tokens, ratio, clip)
    return gain.loss(tokens, size, completion_mean)
