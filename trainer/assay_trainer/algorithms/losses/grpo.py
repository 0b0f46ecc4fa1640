"""GRPO: every completion of the batch weighs the same."""

from assay_trainer.algorithms.losses.policy_loss import (
    BatchSize,
    Clip,
    PolicyLoss,
    PolicyTokens,
    clipped_gain,
    completion_mean,
    log_ratio,
)


def grpo_loss(tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
    """Compute the mean over completions of the mean over each one's tokens.

    A token of a long completion weighs less than one of a short: long wrong answers are punished
    less for each of their tokens.

    Source:
        Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300v3, equation 3, without its KL term, which
        is a term of its own here.

    Example:
        >>> import torch
        >>> zeros, mask = torch.zeros(2, 2), torch.tensor([[True, True], [True, False]])
        >>> advantages = torch.tensor([[1.0, 1.0], [-4.0, 0.0]])
        >>> tokens = PolicyTokens(zeros, zeros, advantages, torch.ones(2, 2), mask)
        >>> grpo_loss(tokens, BatchSize(3, 2, 8), Clip(0.2, 0.2)).loss.item()  # -(1 - 4) / 2
        1.5
    """
    gain = clipped_gain(tokens, log_ratio(tokens).exp(), clip)
    return gain.loss(tokens, size, completion_mean)
