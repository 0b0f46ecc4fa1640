"""From a policy, or from a checkpoint of one, to a Hugging Face folder with its card.

A checkpoint is DeepSpeed's state. Up to ZeRO stage 2 the weights that train lie whole in one file,
whatever the number of ranks; frozen ones are those of the start model, and the optimiser's shards
are not read. Nothing but tensors and plain values is unpickled.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from assay_api import StoreError
from assay_api.stage import Lora
from assay_trainer.models.generation import write_generation_config
from assay_trainer.models.policy import Policy, frozen_names, load_policy
from assay_trainer.models.published import BASE, CARD, AdapterBase, ModelCard

WEIGHTS_FILE = "learner/mp_rank_00_model_states.pt"
"""The file of a checkpoint that holds the weights."""

_SCORER = "model."
"""What stands before each name: the learner's module has the model inside."""


def write_model(policy: Policy, card: ModelCard, folder: Path) -> None:
    """Write a policy as a Hugging Face checkpoint, adapters merged, with its card beside it.

    Its generation defaults are those that it was trained with, not those of its base.
    """
    policy.save(folder)
    write_generation_config(policy.base.generation_config, folder)
    (folder / CARD).write_text(card.model_dump_json(by_alias=True, indent=1))


def write_adapter(policy: Policy, base: AdapterBase, folder: Path) -> None:
    """Write a policy's adapters in peft's format, with what they adapt beside them."""
    policy.save_adapter(folder, base.uri)
    (folder / BASE).write_text(base.model_dump_json(by_alias=True, indent=1))


def export_checkpoint(
    weights_file: Path,
    start: Path,
    folder: Path,
    *,
    precision: str,
    lora: Lora | None,
    card: ModelCard,
) -> None:
    """Write the model of a checkpoint as its stage would have published it at that step.

    Args:
        weights_file: the checkpoint's `WEIGHTS_FILE`.
        start: folder of the model that the stage starts from.
        folder: where the model is written.
        precision: number format of the stage's weights: Float32 or BFloat16.
        lora: the stage's adapters; None: it trains in full.
        card: how the model wants to be asked.

    Raises:
        InvalidInput: `start` holds no model.
        StoreError: the file is damaged, or it is of another model or other adapters.
    """
    policy = load_policy(start, precision=precision, lora=lora, freeze_vision_tower=True)
    weights = learner_weights(weights_file)
    state = policy.model.state_dict(keep_vars=True)
    left_out = frozen_names(policy.model) - set(weights)
    wrong = [
        name
        for name in {**state, **weights}
        if name not in left_out and _shape(state, name) != _shape(weights, name)
    ]
    if wrong:
        raise StoreError(
            f"{weights_file} does not fit the model in {start}: {len(wrong)} weights are missing, "
            f"unknown or of another shape, such as {wrong[0]}; it was written by a stage that "
            "starts from another model, or has other adapters"
        )
    for name, tensor in weights.items():
        # Adapters are made in float32; DeepSpeed may have trained them in another format.
        state[name].data = state[name].data.to(tensor.dtype)
    policy.model.load_state_dict(weights, strict=False)
    write_model(policy, card, folder)


def _shape(weights: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None


def learner_weights(weights_file: Path) -> Mapping[str, Tensor]:
    """Return the weights that a checkpoint holds, by their names in the model. They stay on disk.

    Raises:
        StoreError: the file is damaged, or it is no state of a learner.
    """
    try:
        state = torch.load(weights_file, weights_only=True, mmap=True, map_location="cpu")
        module = state["module"]
        return {name.removeprefix(_SCORER): tensor for name, tensor in module.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise StoreError(
            f"{weights_file} is no state of a learner: {error}; use another checkpoint"
        ) from error
