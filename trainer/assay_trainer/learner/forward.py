"""Log-probabilities of completions, one whole row (prompt and completion) per completion.

Axes used in this file:
    batch   completions in the micro-batch
    out     completion positions, right-padded; the prompt is not included
    hidden  width of the text model
"""

from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from assay_trainer.families.batch import MicroBatch
from assay_trainer.families.family import Family
from assay_trainer.learner.learner import CompletionLogprobs
from assay_trainer.models.policy import frozen_names

_BANNED_BIAS = -100.0
"""What the sampler adds to a banned id's logit; the learner adds the same."""
_CHUNK_TOKENS = 1024
"""Logits exist for this many completion tokens at a time."""


class CompletionScorer(Protocol):
    """Computes the log-probabilities of completions under the model that it holds."""

    def __call__(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score the completions of a micro-batch."""
        ...


class RowScorer(nn.Module):
    """Runs prompt and completion of every row through the model; the vision tower once a clip.

    Its state holds the weights that train. Frozen ones are those of the model that the stage starts
    from: they are left out when the state is read, and may be missing when it is loaded.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        *,
        banned_ids: tuple[int, ...],
        temperature: float,
        entropy_gradient: bool = False,
    ) -> None:
        """Wrap a model, with or without adapters.

        Args:
            model: the model; with adapters, peft's wrapper of it.
            family: what knows how to run it.
            banned_ids: token ids that the sampler may not draw.
            temperature: sampling temperature; logits are divided by it, as the sampler does.
            entropy_gradient: whether entropies carry a gradient too, for a bonus on them.
        """
        super().__init__()
        self.model: Any = model
        self._family = family
        self._banned = banned_ids
        self._temperature = temperature
        self._entropy_gradient = entropy_gradient
        self.register_state_dict_post_hook(_leave_out_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            _let_frozen_be_missing
        )

    def forward(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score the completions of a micro-batch."""
        base = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        hidden = self._family.hidden_states(base, batch)
        wanted = batch.predictor[..., None].expand(-1, -1, hidden.shape[-1])
        return self._score(base.lm_head, hidden.gather(1, wanted), batch)

    def _score(
        self, lm_head: nn.Module, hidden: Float[Tensor, "batch out hidden"], batch: MicroBatch
    ) -> CompletionLogprobs:
        mask = batch.completion_mask
        states, ids = hidden[mask], batch.completion_ids[mask]
        parts = [
            checkpoint(self._chunk, lm_head, state, index, use_reentrant=False)
            for state, index in zip(
                torch.split(states, _CHUNK_TOKENS), torch.split(ids, _CHUNK_TOKENS), strict=True
            )
        ]
        flat = torch.cat([part[0] for part in parts])
        entropy = torch.cat([part[1] for part in parts])
        zeros = torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device)
        return CompletionLogprobs(
            logprobs=zeros.masked_scatter(mask, flat),
            entropy=zeros.masked_scatter(mask, entropy),
        )

    def _chunk(
        self, lm_head: nn.Module, states: Float[Tensor, "out hidden"], ids: Int[Tensor, " out"]
    ) -> tuple[Float[Tensor, " out"], Float[Tensor, " out"]]:
        logits = lm_head(states)
        bias = torch.zeros(logits.shape[-1], device=logits.device)
        bias[list(self._banned)] = _BANNED_BIAS
        table = ((logits + bias) / self._temperature).log_softmax(-1)
        chosen = table.gather(-1, ids[:, None])[:, 0]
        known = table if self._entropy_gradient else table.detach()
        return chosen, -(known.exp() * known).sum(-1)


def _leave_out_frozen(
    module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]
) -> None:
    for name in frozen_names(module):
        state.pop(prefix + name, None)


def _let_frozen_be_missing(module: nn.Module, keys: Any) -> None:
    frozen = frozen_names(module)
    keys.missing_keys[:] = [name for name in keys.missing_keys if name not in frozen]
