"""Estimates of the KL divergence from a reference policy, token by token.

Axes used in this file:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay_api.policy_loss import KlEstimator


def token_kl(
    logprobs: Float[Tensor, "batch token"],
    ref_logprobs: Float[Tensor, "batch token"],
    mask: Bool[Tensor, "batch token"],
    estimator: KlEstimator,
    *,
    clamp: float,
) -> Float[Tensor, "batch token"]:
    """Return an estimate of KL(policy || reference) in nats for each sampled token; 0 at padding.

    Args:
        logprobs: of the sampled tokens under the policy. Carries the gradient.
        ref_logprobs: of the same under the reference. Detached.
        mask: true on tokens that the policy sampled.
        estimator: K1: the difference, unbiased, negative at times. K2: half its square. K3:
            unbiased and never negative.
        clamp: an estimate counts as no further from 0 than this.

    Source:
        Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html); K3 is GRPO's
        (arXiv:2402.03300v3, equation 4) and verl's `low_var_kl`, which clamps it to 10.

    Example:
        >>> new, ref = torch.tensor([[-1.0]]), torch.tensor([[-2.0]])
        >>> mask = torch.ones(1, 1, dtype=torch.bool)
        >>> for one in KlEstimator:
        ...     print(one.value, round(token_kl(new, ref, mask, one, clamp=10.0).item(), 4))
        K1 1.0
        K2 0.5
        K3 0.3679
    """
    difference = torch.where(mask, logprobs - ref_logprobs, 0.0)
    match estimator:
        case KlEstimator.K1:
            estimate = difference
        case KlEstimator.K2:
            estimate = difference.square() / 2
        case KlEstimator.K3:
            # As large as the clamp lets it be, and far from where exp overflows.
            inverse = (-difference).clamp(-20, 20)
            estimate = inverse.exp() - inverse - 1
    return estimate.clamp(-clamp, clamp)
