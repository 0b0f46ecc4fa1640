"""Log-probabilities of completions, one whole row (prompt and completion) per completion.

Axes used in this file:
    batch   completions in the micro-batch
    out     completion positions, right-padded; the prompt is not included
    hidden  width of the text model
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from assay_trainer.learner.batch import MicroBatch
from assay_trainer.learner.learner import CompletionLogprobs
from assay_trainer.models.inputs import Visual
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
        model: Qwen2_5_VLForConditionalGeneration,
        *,
        banned_ids: tuple[int, ...],
        temperature: float,
    ) -> None:
        """Wrap a Qwen2.5-VL, with or without adapters.

        Args:
            model: the model; with adapters, peft's wrapper of it.
            banned_ids: token ids that the sampler may not draw.
            temperature: sampling temperature; logits are divided by it, as the sampler does.
        """
        super().__init__()
        self.model: Qwen2_5_VLForConditionalGeneration = model
        self._banned = banned_ids
        self._temperature = temperature
        self.register_state_dict_post_hook(_leave_out_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            _let_frozen_be_missing
        )

    def forward(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score the completions of a micro-batch."""
        qwen = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        features = self._features(qwen, batch.visuals)
        rows = [tensor for row in batch.visual_of_row for tensor in features[row]]
        kind = batch.visuals[0].kind
        hidden = qwen.model(
            input_ids=batch.input_ids,
            # Causal, and padding comes last: no token of interest can see it.
            attention_mask=None,
            position_ids=batch.positions,
            mm_encoder_outputs={kind: BaseModelOutputWithPooling(pooler_output=rows)},
            use_cache=False,
        ).last_hidden_state
        wanted = batch.predictor[..., None].expand(-1, -1, hidden.shape[-1])
        return self._score(qwen.lm_head, hidden.gather(1, wanted), batch)

    def _features(
        self, qwen: Qwen2_5_VLForConditionalGeneration, visuals: Sequence[Visual]
    ) -> list[tuple[Tensor, ...]]:
        """Run the vision tower once over all clips; return each clip's features, per medium."""
        trained = any(p.requires_grad for p in qwen.model.visual.parameters())
        encode = (
            qwen.model.get_video_features
            if visuals[0].kind == "video"
            else qwen.model.get_image_features
        )
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            encoded = iter(
                encode(
                    torch.cat([visual.pixel_values for visual in visuals]),
                    torch.cat([visual.grid_thw for visual in visuals]),
                ).pooler_output
            )
        return [tuple(islice(encoded, len(visual.grid_thw))) for visual in visuals]

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
        detached = table.detach()
        return chosen, -(detached.exp() * detached).sum(-1)


def _leave_out_frozen(
    module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]
) -> None:
    for name in frozen_names(module):
        state.pop(prefix + name, None)


def _let_frozen_be_missing(module: nn.Module, keys: Any) -> None:
    frozen = frozen_names(module)
    keys.missing_keys[:] = [name for name in keys.missing_keys if name not in frozen]
