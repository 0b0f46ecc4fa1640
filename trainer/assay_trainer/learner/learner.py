"""What a learner is, apart from any engine: it scores completions and takes optimiser steps.

Axes used in this file:
    batch   completions in the micro-batch
    out     completion positions, right-padded; the prompt is not included
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from assay_trainer.families.batch import MicroBatch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CompletionLogprobs:
    """Log-probability and entropy in nats at each completion token; 0 at padding."""

    logprobs: Float[Tensor, "batch out"]
    """Carries the gradient."""
    entropy: Float[Tensor, "batch out"]
    """Detached, unless a bonus is given for it."""


LossOfMicroBatch = Callable[[CompletionLogprobs], Tensor]
"""Gives the loss of the micro-batch that it was made for from its log-probabilities."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one optimiser step did, on this rank."""

    grad_norm: float
    learning_rate: float


class Learner(Protocol):
    """One per process; all ranks call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """This process's number among the learners."""
        ...

    @property
    def world_size(self) -> int:
        """Number of learner processes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where micro-batches must lie."""
        ...

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score completions without gradient."""
        ...

    def update(self, work: Sequence[tuple[MicroBatch, LossOfMicroBatch]]) -> Update:
        """Take one optimiser step on the sum of the micro-batches' losses, over all ranks.

        All ranks must come with the same number of micro-batches. A loss is already divided by what
        the whole global batch holds.
        """
        ...

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        ...

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks on every rank, by rank."""
        ...

    def barrier(self) -> None:
        """Wait for all ranks."""
        ...

    def save(self, folder: Path) -> None:
        """Write this rank's part of the weights that train, optimiser and schedule.

        Raises:
            StoreError: the folder's disk is full or not writable.
        """
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, with the same number of ranks, into the same start model.

        Raises:
            StoreError: it has not the weights that train here.
        """
        ...
