"""Dr. GRPO: every token weighs the same, in whatever batch it is."""

from assay_trainer.algorithms.losses.policy_loss import (
    BatchSize,
    Clip,
    PolicyLoss,
    PolicyTokens,
    clipped_gain,
    log_ratio,
    room_mean,
)


def dr_grpo_loss(tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
    """Compute the sum over tokens, divided by the room that the completions had.

    The divisor does not depend on how long the completions are, so neither long answers nor batches
    of long answers weigh less for each token. It belongs together with advantages that are not
    divided by a standard deviation.

    Source:
        Liu et al. 2025, "Understanding R1-Zero-Like Training", arXiv:2503.20783v1, section 3.2: the
        sum by a constant, the longest completion, as in TRL and verl.

    Example:
        >>> import torch
        >>> zeros, mask = torch.zeros(2, 2), torch.tensor([[True, True], [True, False]])
        >>> advantages = torch.tensor([[1.0, 1.0], [-4.0, 0.0]])
        >>> tokens = PolicyTokens(zeros, zeros, advantages, torch.ones(2, 2), mask)
        >>> dr_grpo_loss(tokens, BatchSize(3, 2, 8), Clip(0.2, 0.2)).loss.item()  # -(2 - 4) / 16
        0.125
    """
    gain = clipped_gain(tokens, log_ratio(tokens).exp(), clip)
    return gain.loss(tokens, size, room_mean)
