"""The model that is trained: loaded from a folder, adapted, exported, saved."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from assay_api import InvalidInput
from assay_api.stage import Lora
from assay_data.dataset.rows import Turn
from assay_trainer.families.family import Family, PromptEncoder, banned_ids, family_of
from assay_trainer.models.precision import DTYPES
from assay_trainer.models.published import check_model_folder


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its processor; `model` is peft's wrapper if it has adapters."""

    model: PreTrainedModel | PeftModel
    family: Family
    processor: Any
    """What stands beside the weights, such as the tokenizer."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.family.tokenizer(self.processor)

    @property
    def base(self) -> PreTrainedModel:
        """The model inside, without peft's wrapper around it."""
        return self.model.get_base_model() if self.has_adapters else self.model

    @property
    def has_adapters(self) -> bool:
        """Whether only adapters are trained."""
        return hasattr(self.model, "peft_config")

    @property
    def end(self) -> str:
        """What ends a completion."""
        return str(self.tokenizer.eos_token)

    def render(self, turns: Sequence[Turn]) -> str:
        """Return a conversation in the model's chat format.

        Raises:
            InvalidInput: the model has none.
        """
        return self.family.render(turns, self.tokenizer)

    def encoder(self) -> PromptEncoder:
        """Return the encoder of its prompts."""
        return self.family.encoder(self.processor, self.base.config)

    def banned_ids(self) -> tuple[int, ...]:
        """Return the ids that must not be sampled."""
        return banned_ids(self.family, self.tokenizer)

    def exported_weights(self) -> Mapping[str, Tensor]:
        """Copy what a sampler needs to follow: all weights, or the adapters alone."""
        state = self._adapters() if self.has_adapters else self.model.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _adapters(self) -> dict[str, Tensor]:
        # By default peft would look at the base on the Hub for a changed vocabulary.
        state: dict[str, Tensor] = get_peft_model_state_dict(
            self.model, save_embedding_layers=False
        )
        return state

    def save_adapter(self, folder: Path, base: str) -> None:
        """Write the adapters alone as peft reads them; `base` says which model they adapt."""
        folder.mkdir(parents=True)
        state = {name: tensor.detach().contiguous() for name, tensor in self._adapters().items()}
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = copy.copy(self.model.peft_config["default"])
        config.base_model_name_or_path, config.inference_mode = base, True
        config.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        """Write a whole Hugging Face checkpoint; adapters are merged into a copy of the weights."""
        if self.has_adapters:
            self.model.merge_adapter()
            try:
                state = {
                    name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
                    for name, tensor in self.model.state_dict().items()
                    if "lora_" not in name
                }
                self.base.save_pretrained(folder, state_dict=state)
            finally:
                self.model.unmerge_adapter()
        else:
            self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        _forget_how_it_was_loaded(folder / "tokenizer_config.json")


def _forget_how_it_was_loaded(config: Path) -> None:
    """Drop what tells of this process: the same model has the same files wherever it is saved."""
    content = json.loads(config.read_text())
    content.pop("local_files_only", None)
    config.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def frozen_names(module: nn.Module) -> set[str]:
    """Return the names of the weights that do not train; a tied one has several."""
    return {
        name
        for name, weight in module.named_parameters(remove_duplicate=False)
        if not weight.requires_grad
    }


def load_policy(
    folder: Path, *, precision: str, lora: Lora | None, freeze_vision_tower: bool
) -> Policy:
    """Load a model for training; the text model in full or through adapters.

    Raises:
        InvalidInput: the folder holds no checkpoint, or one of no family that there is.
    """
    check_model_folder(folder)
    family = family_of(folder)
    model = family.load(folder, DTYPES[precision])
    if freeze_vision_tower:
        family.freeze_vision_tower(model)
    # Adapters freeze all weights of the model itself.
    adapted = model if lora is None else _adapted(model, family, lora)
    return Policy(adapted, family, family.processor(folder))


def _adapted(model: PreTrainedModel, family: Family, lora: Lora) -> PeftModel:
    names = "|".join(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=rf"{family.text_layers}.*\.({names})",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InvalidInput(
            f"spec.lora.targets: {', '.join(lora.targets)} name no layer of the text model; "
            "allowed are names such as q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
            "down_proj"
        ) from error
