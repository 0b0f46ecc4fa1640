"""What all policy losses share: their input, the clipped gain of a token, and their result.

Axes used in this package:
    batch   completions in the micro-batch, all groups flattened together
    token   completion positions, right-padded; the prompt is not included

A loss is divided by what the whole global batch holds, so that the losses of micro-batches add up
to that of the batch, over all ranks and accumulation steps.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_MAX_LOG_RATIO = 20.0
"""Nats by which two log-probabilities of a token are taken to differ at most, as in verl."""


@dataclass(frozen=True, slots=True)
class PolicyTokens:
    """The sampled tokens of a micro-batch. What stands at padding does not matter."""

    logprobs: Float[Tensor, "batch token"]
    """In nats, under the policy that is trained. Carries the gradient."""
    old_logprobs: Float[Tensor, "batch token"]
    """The same before the first update on the batch. With one update that is `logprobs.detach()`,
    and the ratio is 1 with the gradient of `logprobs`."""
    advantages: Float[Tensor, "batch token"]
    """In standard deviations of the rewards of the completion's group. Detached."""
    importance_weights: Float[Tensor, "batch token"]
    """How much likelier each token was under `old_logprobs` than under the sampler that drew it.
    Detached. Outside of the clip: it corrects for who sampled, and is no part of the step that the
    clip limits."""
    mask: Bool[Tensor, "batch token"]
    """True on tokens that the policy sampled."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """What the whole global batch holds."""

    num_tokens: int
    num_completions: int
    max_completion_tokens: int
    """Longest completion that may be sampled."""

    def __post_init__(self) -> None:
        """Refuse a batch in which nothing was sampled."""
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Clip:
    """How far the policy may move in one batch, by the ratio of new to old probability."""

    low: float
    """The ratio counts as no less than `1 - low`."""
    high: float
    """The ratio counts as no more than `1 + high`."""
    dual: float | None = None
    """With a negative advantage the loss counts as no more than this times its size; None: as it
    is."""


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss to minimise, and the share of tokens that its clip held back."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    """Of this micro-batch's sampled tokens. Detached."""


class LossFunction(Protocol):
    """A policy loss."""

    def __call__(self, tokens: PolicyTokens, size: BatchSize, clip: Clip) -> PolicyLoss:
        """Return the loss of a micro-batch, divided by what the batch holds."""
        ...


@dataclass(frozen=True, slots=True)
class Gain:
    """What the surrogate objective gains by each token; 0 at padding."""

    value: Float[Tensor, "batch token"]
    was_clipped: Bool[Tensor, "batch token"]

    def loss(self, tokens: PolicyTokens, size: BatchSize, mean: "Aggregation") -> PolicyLoss:
        """Return the loss: the negative of the gain, averaged over the batch."""
        share = self.was_clipped.sum() / tokens.mask.sum().clamp(min=1)
        return PolicyLoss(loss=-mean(self.value, tokens.mask, size), clip_fraction=share)


def log_ratio(tokens: PolicyTokens) -> Float[Tensor, "batch token"]:
    """Return by how many nats each token became likelier; 0 at padding."""
    # Mask before exp: masked only afterwards, nan in the padding still reaches the gradient.
    difference = torch.where(tokens.mask, tokens.logprobs - tokens.old_logprobs, 0.0)
    return difference.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def clipped_gain(tokens: PolicyTokens, ratio: Float[Tensor, "batch token"], clip: Clip) -> Gain:
    """Return the smaller of the gains by the ratio and by the clipped ratio, weighted.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, equation 7; the bounds apart: DAPO,
        arXiv:2503.14476v1, section 3.1. Dual clip: Ye et al. 2019, arXiv:1912.09729, section 3.3.
    """
    advantages = torch.where(tokens.mask, tokens.advantages, 0.0)
    weights = torch.where(tokens.mask, tokens.importance_weights, 0.0)
    gain = ratio * advantages
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high) * advantages
    lower = torch.minimum(gain, clipped)
    was_clipped = (clipped < gain) & tokens.mask
    if clip.dual is not None:
        least = clip.dual * advantages
        is_far = (advantages < 0) & (lower < least)
        lower = torch.where(is_far, least, lower)
        was_clipped = was_clipped | is_far
    return Gain(lower * weights, was_clipped)


class Aggregation(Protocol):
    """A way to average what tokens have over the batch."""

    def __call__(
        self,
        values: Float[Tensor, "batch token"],
        mask: Bool[Tensor, "batch token"],
        size: BatchSize,
    ) -> Float[Tensor, ""]:
        """Return this micro-batch's part of the average; the values are 0 at padding."""
        ...


def token_mean(
    values: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], size: BatchSize
) -> Float[Tensor, ""]:
    """Weigh every token of the batch alike."""
    return values.sum() / size.num_tokens


def completion_mean(
    values: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], size: BatchSize
) -> Float[Tensor, ""]:
    """Weigh every completion of the batch alike, and its tokens among themselves."""
    return mean_per_completion(values, mask).sum() / size.num_completions


def room_mean(
    values: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], size: BatchSize
) -> Float[Tensor, ""]:
    """Weigh every token alike, by the room that completions have."""
    return values.sum() / (size.num_completions * size.max_completion_tokens)


def mean_per_completion(
    values: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"]
) -> Float[Tensor, " batch"]:
    """Return each completion's mean over its own tokens; the values are 0 at padding."""
    return values.sum(1) / mask.sum(1).clamp(min=1)
