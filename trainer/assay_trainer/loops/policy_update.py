"""From scored groups to optimiser steps: rows, micro-batches, the loss, what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from assay_api.policy_loss import Kl
from assay_api.stage import Rl
from assay_trainer.algorithms.dynamic_sampling import is_tie, num_batch_tokens
from assay_trainer.algorithms.importance import importance_weights
from assay_trainer.algorithms.kl import token_kl
from assay_trainer.algorithms.losses.policy_loss import BatchSize, PolicyTokens, token_mean
from assay_trainer.algorithms.losses.registry import AGGREGATIONS, LOSSES, clip_of
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
    """Only there to keep ranks in step: it has no part in the loss and is not counted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one micro-batch showed, summed over its tokens."""

    loss: float
    num_tokens: int
    entropy_nats: float
    kl_nats: float
    """Divergence from the reference; 0 where there is none."""
    num_clipped: float
    disagreement: Disagreement
    """Of learner and sampler at the weights before the first update."""


def learn(parts: StageParts, rl: Rl, groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Take the optimiser steps on the groups of all ranks together; return what was seen.

    Args:
        parts: of the stage.
        rl: the stage's method.
        groups: the batch, the same on all ranks; at least one is no tie. Ties are not computed,
            their gradient is zero, but the loss is divided by what they hold too.
    """
    learner = parts.learner
    works = [_micro_batches(parts, rl, part) for part in parts_of_batch(groups, rl)]
    if len(works) > 1:
        # Those of later parts are needed as they are now, before the first step.
        for loss in (loss for losses in works for loss in losses):
            loss.old = learner.score(loss.batch).logprobs
    updates = [learner.update([(loss.batch, loss) for loss in losses]) for losses in works]
    found = [loss.seen for losses in works for loss in losses if loss.seen is not None]
    combined = _combined([one for rank in learner.gather(found) for one in rank])
    if learner.rank == 0:
        warn_of_disagreement(combined, parts.stage.spec.placement.precision)
    only_with = {"kl/reference": rl.loss.kl is None, "loss/clip_fraction": len(works) == 1}
    return {
        "grad_norm": max(update.grad_norm for update in updates),
        "learning_rate": updates[-1].learning_rate,
        "updates": float(len(updates)),
        **{name: value for name, value in combined.items() if not only_with.get(name)},
    }


def parts_of_batch(groups: Sequence[ScoredGroup], rl: Rl) -> list[list[ScoredGroup]]:
    """Return the groups of each optimiser step, in order; each step has one that is no tie.

    Example:
        A batch of 7 groups, of which the second and the last are ties, in 2 updates: 3 and 4.
    """
    ranked = [place for place, group in enumerate(groups) if not is_tie(group)]
    count = min(rl.updates_per_batch, len(ranked))
    # A part ends where the next one's first ranked group stands, so that ties are dealt out too.
    starts = [0, *(ranked[part * len(ranked) // count] for part in range(1, count)), len(groups)]
    return [list(groups[first:last]) for first, last in pairwise(starts)]


def _micro_batches(
    parts: StageParts, rl: Rl, groups: Sequence[ScoredGroup]
) -> "list[MicroBatchLoss]":
    """Return this rank's micro-batches of one optimiser step; all ranks have as many."""
    learner = parts.learner
    batch = BatchSize(
        num_tokens=num_batch_tokens(groups),
        num_completions=sum(len(group.group.rollouts) for group in groups),
        max_completion_tokens=rl.max_completion_tokens,
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
    return [MicroBatchLoss(parts, rl, cut, batch) for cut in cuts]


class MicroBatchLoss:
    """The loss of one micro-batch, and what it saw when it was computed."""

    def __init__(self, parts: StageParts, rl: Rl, rows: Sequence[Row], size: BatchSize) -> None:
        """Collate the rows; `size` is what the loss of the global batch is divided by."""
        self.batch: MicroBatch = parts.micro_batches([row.completion for row in rows])[0]
        self.old: Tensor | None = None
        """Log-probabilities before the first update; None: this one is the only."""
        self.seen: Seen | None = None
        self._rl, self._size = rl, size
        self._idle = rows[0].idle
        self._far_nats = LIMITS[parts.stage.spec.placement.precision].far_nats
        self._reference = None
        if rl.loss.kl is not None and not self._idle:
            assert parts.reference is not None, "a stage with a divergence has a reference"
            self._reference = parts.reference.score(self.batch).logprobs
        device = self.batch.input_ids.device
        self._advantages, self._sampler_logprobs = (
            pad_sequence([torch.tensor(values) for values in column], batch_first=True).to(device)
            for column in (
                [row.advantages for row in rows],
                [row.sampler_logprobs for row in rows],
            )
        )

    def __call__(self, out: CompletionLogprobs) -> Tensor:
        """Return the loss; with one update per batch the old log-probabilities are the new."""
        if self._idle:
            return out.logprobs.sum() * 0.0
        mask, loss = self.batch.completion_mask, self._rl.loss
        old = out.logprobs.detach() if self.old is None else self.old
        weights = importance_weights(
            old, self._sampler_logprobs, mask, cap=self._rl.importance_weight_cap
        )
        tokens = PolicyTokens(out.logprobs, old, self._advantages, weights, mask)
        policy = LOSSES[loss.type](tokens, self._size, clip_of(loss))
        total, kl = policy.loss, torch.zeros_like(out.logprobs)
        if loss.kl is not None:
            kl = self._divergence(out.logprobs, loss.kl)
            mean = AGGREGATIONS[loss.type](kl, mask, self._size)
            total = total + loss.kl.coefficient * mean
        if loss.entropy_bonus:
            total = total - loss.entropy_bonus * token_mean(out.entropy, mask, self._size)
        num_tokens = int(mask.sum())
        self.seen = Seen(
            loss=total.item(),
            num_tokens=num_tokens,
            entropy_nats=out.entropy.sum().item(),
            kl_nats=kl.sum().item(),
            num_clipped=policy.clip_fraction.item() * num_tokens,
            disagreement=disagreement(old, self._sampler_logprobs, mask, far_nats=self._far_nats),
        )
        return total

    def _divergence(self, logprobs: Tensor, kl: Kl) -> Tensor:
        assert self._reference is not None
        mask = self.batch.completion_mask
        return token_kl(logprobs, self._reference, mask, kl.estimator, clamp=kl.clamp)


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
        "kl/reference": sum(one.kl_nats for one in seen) / num_tokens,
        "loss/clip_fraction": sum(one.num_clipped for one in seen) / num_tokens,
        "tokens/learned": float(num_tokens),
    }
