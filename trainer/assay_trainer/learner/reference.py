"""The reference policy: the model that a stage started from, whatever it has learned since."""

import copy
from typing import Protocol

import torch
from torch import nn

from assay_trainer.families.batch import MicroBatch
from assay_trainer.learner.forward import RowScorer
from assay_trainer.learner.learner import CompletionLogprobs


class Reference(Protocol):
    """Scores completions under weights that never change."""

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score completions without gradient."""
        ...


class WithoutAdapters:
    """The model that is trained, its adapters switched off: it takes no memory of its own."""

    def __init__(self, scorer: RowScorer) -> None:
        """Take the scorer of the model with its adapters."""
        self._scorer = scorer

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score completions without gradient."""
        with torch.no_grad(), self._scorer.model.disable_adapter():
            out: CompletionLogprobs = self._scorer(batch)
        return out


class FrozenCopy:
    """A second copy of the model. Made before the first is trained."""

    def __init__(self, scorer: RowScorer) -> None:
        """Copy the scorer's model, in its number format."""
        self._scorer: nn.Module = copy.deepcopy(scorer).requires_grad_(False).eval()

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score completions without gradient."""
        self._scorer.to(batch.input_ids.device)
        with torch.no_grad():
            out: CompletionLogprobs = self._scorer(batch)
        return out
