"""How far sampler and learner may differ on the same tokens under the same weights.

Both run the same weights with other kernels, so that each number format has a difference of its
own. What is beyond these limits is no rounding: other weights, positions, or a broken kernel.

Axes used in this file:
    batch   completions in the micro-batch
    token   completion positions, right-padded
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest differences of log-probabilities that rounding explains."""

    canary_nats: float
    """On any token of the canary; beyond it the stage stops."""
    far_nats: float
    """A token that differs by more counts as far."""
    mean_nats: float
    """On average over a step's tokens; beyond it, as for the two below, the log warns."""
    kl_nats: float
    """Estimated KL divergence per token."""
    share_far: float
    """Share of far tokens."""


LIMITS = {
    "Float32": Limits(1e-3, far_nats=1e-3, mean_nats=1e-4, kl_nats=1e-6, share_far=0.01),
    # Random models of 28 layers differ by 0.07 on average, trained ones by 0.01 to 0.03.
    "BFloat16": Limits(1.0, far_nats=0.5, mean_nats=0.1, kl_nats=0.02, share_far=0.01),
}
"""By `placement.precision`."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How far sampler and learner were apart, summed over tokens."""

    largest_nats: float
    total_nats: float
    kl_nats: float
    num_far: int


def disagreement(
    learner_logprobs: Float[Tensor, "batch token"],
    sampler_logprobs: Float[Tensor, "batch token"],
    completion_mask: Bool[Tensor, "batch token"],
    *,
    far_nats: float,
) -> Disagreement:
    """Compare log-probabilities of the same tokens under the same weights.

    Args:
        learner_logprobs: log-probability in nats of each sampled token as the learner computes it.
        sampler_logprobs: the same as the sampler drew it.
        completion_mask: true on tokens the policy sampled.
        far_nats: a token that differs by more counts as far.

    Returns:
        The largest difference, the sum of all without their signs, the sum of the tokens' estimates
        of the KL divergence from sampler to learner, and how many tokens are far.

    Source:
        The estimate is k3 of Schulman, "Approximating KL divergence" (2020): exp(d) - 1 - d, with d
        learner minus sampler. It is never negative and on average exact.

    Example:
        >>> import torch
        >>> learner = torch.log(torch.tensor([[0.5, 0.2, 0.9]]))
        >>> sampler = torch.log(torch.tensor([[0.5, 0.1, 0.1]]))
        >>> mask = torch.tensor([[True, True, False]])
        >>> found = disagreement(learner, sampler, mask, far_nats=0.5)
        >>> round(found.largest_nats, 4), round(found.kl_nats, 4), found.num_far  # ln 2; 1 - ln 2
        (0.6931, 0.3069, 1)
    """
    # In double precision: exp(d) - 1 - d of a small d is lost in less.
    log_ratio = (learner_logprobs.double() - sampler_logprobs.double()).where(completion_mask, 0.0)
    distance = log_ratio.abs()
    return Disagreement(
        largest_nats=distance.max().item(),
        total_nats=distance.sum().item(),
        kl_nats=(log_ratio.expm1() - log_ratio).sum().item(),
        num_far=int((distance > far_nats).sum()),
    )


def alarms(metrics: Mapping[str, float], precision: str) -> list[str]:
    """Return a sentence for each statistic of a step that is beyond its limit.

    Example:
        >>> alarms({"logprob/mean_difference": 0.3, "logprob/kl": 0.01,
        ...         "logprob/far_tokens": 0.0}, "BFloat16")
        ['logprob/mean_difference is 0.3, above 0.1']
    """
    limits = LIMITS[precision]
    bounds = {
        "logprob/mean_difference": limits.mean_nats,
        "logprob/kl": limits.kl_nats,
        "logprob/far_tokens": limits.share_far,
    }
    return [
        f"{name} is {metrics[name]:.3g}, above {bound:g}"
        for name, bound in bounds.items()
        if not metrics[name] <= bound
    ]


def warn_of_disagreement(metrics: Mapping[str, float], precision: str) -> None:
    """Log a warning where sampler and learner differ by more than rounding explains."""
    if found := alarms(metrics, precision):
        _LOG.warning(
            "sampler and learner disagree: %s (nats per token, or a share of the tokens): "
            "importance weights make up for it, but learning suffers; docs/operations.md says "
            "what to do",
            "; ".join(found),
        )
