"""From scored groups to one optimiser step: rows, micro-batches, policy loss, what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from assay_api.losses import LossType
from assay_api.stage import Rl
from assay_trainer.algorithms.dynamic_sampling import is_tie, num_batch_tokens
from assay_trainer.algorithms.importance import importance_weights
from assay_trainer.algorithms.losses.dapo import PolicyLoss, dapo_loss
from assay_trainer.algorithms.losses.dr_grpo import dr_grpo_loss
from assay_trainer.algorithms.losses.grpo import grpo_loss
from assay_trainer.families.batch import Completion, MicroBatch
from assay_trainer.learner.learner import CompletionLogprobs
from assay_trainer.loops.agreement import LIMITS, Disagreement, disagreement, warn_of_disagreement
from assay_trainer.loops.parts import StageParts
from assay_trainer.records import ScoredGroup


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout as the learner sees it."""

    completion: Completion
    sampler_logprobs: tuple[float, ...]
    advantages: tuple[float, ...]
    """Of each token."""
    idle: bool = False
    """Only there to keep ranks in step: its advantages are zero and it is not counted."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """What losses of the global batch are divided by: of all ranks, ties among them."""

    num_tokens: int
    num_completions: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What one micro-batch showed, summed over its tokens."""

    loss: float
    num_tokens: int
    entropy_nats: float
    disagreement: Disagreement
    """Of learner and sampler at the same weights."""


def learn(parts: StageParts, rl: Rl, groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Take one optimiser step on the groups of all ranks together; return what was seen.

    Args:
        parts: of the stage.
        rl: the stage's method.
        groups: the batch, the same on all ranks; at least one is no tie. Ties are not computed,
            their gradient is zero, but the loss is divided by their size too.
    """
    learner = parts.learner
    size_of_batch = BatchSize(
        num_batch_tokens(groups), sum(len(group.group.rollouts) for group in groups)
    )
    ranked = [group for group in groups if not is_tie(group)]
    rows = [row for g in ranked[learner.rank :: learner.world_size] for row in _rows(parts, g)]
    size = parts.stage.spec.placement.micro_batch
    cuts = [rows[start : start + size] for start in range(0, len(rows), size)]
    # Ranks reduce gradients together: one with less to do repeats a row that weighs nothing.
    most = max(learner.gather(len(cuts)))
    if len(cuts) < most:
        first = _rows(parts, ranked[0])[0]
        spare = replace(first, advantages=(0.0,) * len(first.advantages), idle=True)
        cuts += [[spare]] * (most - len(cuts))
    losses = [MicroBatchLoss(parts, rl, cut, size_of_batch) for cut in cuts]
    update = learner.update([(loss.batch, loss) for loss in losses])
    seen = learner.gather([loss.seen for loss in losses if loss.seen is not None])
    combined = _combined([one for rank in seen for one in rank])
    if learner.rank == 0:
        warn_of_disagreement(combined, parts.stage.spec.placement.precision)
    return {
        "grad_norm": update.grad_norm,
        "learning_rate": update.learning_rate,
        **combined,
    }


class MicroBatchLoss:
    """The policy loss of one micro-batch, and what it saw when it was computed."""

    def __init__(
        self, parts: StageParts, rl: Rl, rows: Sequence[Row], batch_size: BatchSize
    ) -> None:
        """Collate the rows; `batch_size` is what the loss of the global batch is divided by."""
        self.batch: MicroBatch = parts.micro_batches([row.completion for row in rows])[0]
        self.seen: Seen | None = None
        self._rl = rl
        self._batch_size = batch_size
        self._idle = rows[0].idle
        self._far_nats = LIMITS[parts.stage.spec.placement.precision].far_nats
        device = self.batch.input_ids.device
        self._advantages = pad_sequence(
            [torch.tensor(row.advantages) for row in rows], batch_first=True
        ).to(device)
        self._sampler_logprobs = pad_sequence(
            [torch.tensor(row.sampler_logprobs) for row in rows], batch_first=True
        ).to(device)

    def __call__(self, out: CompletionLogprobs) -> Tensor:
        """Return the loss; with one update per batch the old log-probabilities are the new."""
        old, mask = out.logprobs.detach(), self.batch.completion_mask
        weights = importance_weights(
            old, self._sampler_logprobs, mask, cap=self._rl.importance_weight_cap
        )
        policy = self._policy_loss(out.logprobs, old, self._advantages, weights, mask)
        if not self._idle:
            self.seen = Seen(
                loss=policy.loss.item(),
                num_tokens=int(mask.sum()),
                entropy_nats=out.entropy.sum().item(),
                disagreement=disagreement(
                    old, self._sampler_logprobs, mask, far_nats=self._far_nats
                ),
            )
        return policy.loss

    def _policy_loss(self, *tensors: Tensor) -> PolicyLoss:
        size = self._batch_size
        low, high = self._rl.clip_low, self._rl.clip_high
        match self._rl.loss.type:
            case LossType.DAPO:
                return dapo_loss(*tensors, num_tokens=size.num_tokens, clip_low=low, clip_high=high)
            case LossType.GRPO:
                return grpo_loss(
                    *tensors, num_completions=size.num_completions, clip_low=low, clip_high=high
                )
            case LossType.DR_GRPO:
                most = size.num_completions * self._rl.max_completion_tokens
                return dr_grpo_loss(*tensors, max_batch_tokens=most, clip_low=low, clip_high=high)


def _rows(parts: StageParts, scored: ScoredGroup) -> list[Row]:
    prompt = scored.group.prompt
    encoded = parts.encode(prompt.text, prompt.row_id, prompt.shows)
    return [
        Row(Completion(encoded, rollout.token_ids), rollout.sampler_logprobs, advantages)
        for rollout, advantages in zip(scored.group.rollouts, scored.token_advantages, strict=True)
    ]


def _combined(seen: Sequence[Seen]) -> dict[str, float]:
    num_tokens = sum(one.num_tokens for one in seen)
    return {
        "loss": sum(one.loss for one in seen),
        "entropy/mean_nats": sum(one.entropy_nats for one in seen) / num_tokens,
        "logprob/max_difference": max(one.disagreement.largest_nats for one in seen),
        "logprob/mean_difference": sum(one.disagreement.total_nats for one in seen) / num_tokens,
        "logprob/kl": sum(one.disagreement.kl_nats for one in seen) / num_tokens,
        "logprob/far_tokens": sum(one.disagreement.num_far for one in seen) / num_tokens,
        "tokens/learned": float(num_tokens),
    }
