"""Text models whose positions count on by one: Qwen2, Qwen2.5, Qwen3, Llama and their like.

Axes used in this file:
    batch   completions in the micro-batch
    token   prompt and completion, right-padded
    hidden  width of the model
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from assay_api import InvalidInput
from assay_data.dataset.rows import Turn
from assay_trainer.families.batch import MicroBatch
from assay_trainer.families.float32_head import Float32Head
from assay_trainer.families.inputs import EncodedPrompt
from assay_trainer.records import Media, Shown


class TextFamily:
    """Causal language models as transformers and vLLM have them."""

    text_layers = r"model\.layers\."
    shows = frozenset({Shown.NOTHING})
    media_tokens: tuple[str, ...] = ()

    def load(self, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
        """Load the model."""
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        model.config.use_cache = False
        model.lm_head = Float32Head(model.lm_head)
        return model

    def freeze_vision_tower(self, model: PreTrainedModel) -> None:
        """Do nothing: there is none."""

    def processor(self, folder: Path) -> PreTrainedTokenizerBase:
        """Return the tokenizer, which is all that stands beside the weights."""
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        if tokenizer.pad_token_id is None:
            # Only fills rows up: no token of interest sees it, and none is learned.
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def tokenizer(self, processor: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return it."""
        return processor

    def render(self, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> str:
        """Return a conversation as the model's own template has it.

        Raises:
            InvalidInput: it has none, or refuses the conversation.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text: str = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except (ValueError, TemplateError) as error:
            raise InvalidInput(
                f"spec.prompt.source: the model in {tokenizer.name_or_path} can't be asked in a "
                f"chat format ({error}): ask with source: Raw, or give a model that was trained "
                "for conversations"
            ) from error
        return text

    def encoder(self, processor: PreTrainedTokenizerBase, config: Any) -> "TextEncoder":
        """Return the encoder of prompts."""
        return TextEncoder(processor)

    def hidden_states(
        self, model: PreTrainedModel, batch: MicroBatch
    ) -> Float[Tensor, "batch token hidden"]:
        """Run the rows through the model."""
        states: Tensor = model.model(
            input_ids=batch.input_ids,
            # Causal, and padding comes last: no token of interest can see it.
            attention_mask=None,
            position_ids=batch.positions[0],
            use_cache=False,
        ).last_hidden_state
        return states

    def sampler_prompt(
        self, text: str, media: Media, tokenizer: PreTrainedTokenizerBase
    ) -> Mapping[str, Any]:
        """Return the prompt's tokens: of a text, vLLM may put a token before it that we do not."""
        return {"prompt_token_ids": list(_encoded(tokenizer, text))}

    def sampler_arguments(self, max_pictures: int) -> Mapping[str, Any]:
        """Return nothing: there are no media."""
        return {}


FAMILY = TextFamily()


class TextEncoder:
    """Encodes prompts of text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the model's tokenizer."""
        self._tokenizer = tokenizer

    def encode(self, text: str, media: Media) -> EncodedPrompt:
        """Encode a prompt.

        Raises:
            ValueError: there are media to be shown.
        """
        if media is not None:
            raise ValueError("a text model can't be shown pictures or videos")
        ids = self.encode_completion(text)
        return EncodedPrompt(ids, torch.arange(len(ids))[None])

    def encode_completion(self, text: str) -> tuple[int, ...]:
        """Encode the text of a completion; its end token is part of the text."""
        return _encoded(self._tokenizer, text)


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
