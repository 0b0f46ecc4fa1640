"""What a model family is: all that depends on the kind of model, and nothing else.

A family is chosen by `model_type` of a folder's `config.json`. Nothing outside of a family's file
asks what kind of model it has.

Axes used in this file:
    batch   completions in the micro-batch
    token   prompt and completion, right-padded
    hidden  width of the text model
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from assay_data.dataset.rows import Turn
from assay_trainer.families.inputs import EncodedPrompt
from assay_trainer.families.registry import FAMILIES, model_type
from assay_trainer.records import Media, Shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from assay_trainer.families.batch import MicroBatch


class PromptEncoder(Protocol):
    """Encodes prompts exactly as the sampler does, so that both see the same tokens."""

    def encode(self, text: str, media: Media) -> EncodedPrompt:
        """Encode a prompt in the chat format, with a mark where each medium is shown.

        Raises:
            ValueError: the number of marks in the text differs from that of the media.
        """
        ...

    def encode_completion(self, text: str) -> tuple[int, ...]:
        """Encode the text of a completion; its end token is part of the text."""
        ...


class Family(Protocol):
    """All that depends on the kind of model. Stateless."""

    @property
    def text_layers(self) -> str:
        """Regular expression of what the names of the text model's layers start with."""
        ...

    @property
    def shows(self) -> frozenset[Shown]:
        """What prompts may show."""
        ...

    @property
    def media_tokens(self) -> tuple[str, ...]:
        """Tokens that stand for media: a sampled one would have no content."""
        ...

    def load(self, folder: Path, dtype: torch.dtype) -> "PreTrainedModel":
        """Load the model for training, with Float32 logits, all weights trainable."""
        ...

    def freeze_vision_tower(self, model: "PreTrainedModel") -> None:
        """Keep the vision tower's weights as they are, if there is one."""
        ...

    def processor(self, folder: Path) -> Any:
        """Return what stands beside the weights and is saved with them; has `save_pretrained`."""
        ...

    def tokenizer(self, processor: Any) -> "PreTrainedTokenizerBase":
        """Return the processor's tokenizer."""
        ...

    def render(self, turns: Sequence[Turn], tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return a conversation in the model's chat format, up to where its answer begins.

        Raises:
            InvalidInput: the model has no chat format.
        """
        ...

    def encoder(self, processor: Any, config: Any) -> PromptEncoder:
        """Return the encoder of prompts.

        Args:
            processor: the model's.
            config: its configuration.
        """
        ...

    def hidden_states(
        self, model: "PreTrainedModel", batch: "MicroBatch"
    ) -> Float[Tensor, "batch token hidden"]:
        """Run prompts and completions through the model, up to its head."""
        ...

    def sampler_prompt(
        self, text: str, media: Media, tokenizer: "PreTrainedTokenizerBase"
    ) -> Mapping[str, Any]:
        """Return a prompt as vLLM takes it."""
        ...

    def sampler_arguments(self, max_pictures: int) -> Mapping[str, Any]:
        """Return what vLLM is told of this kind of model.

        Args:
            max_pictures: pictures of a prompt, at most.
        """
        ...


def family_of(folder: Path) -> Family:
    """Return the family of the model in a folder.

    Raises:
        InvalidInput: it holds no model, or one of no family that there is.
    """
    family: Family = importlib.import_module(
        f"assay_trainer.families.{FAMILIES[model_type(folder)]}"
    ).FAMILY
    return family


def banned_ids(family: Family, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Return the ids that must not be sampled."""
    found = tokenizer.convert_tokens_to_ids(list(family.media_tokens))
    return tuple(found)
