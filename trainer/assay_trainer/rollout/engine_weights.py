"""Reads the weights that an engine of vLLM runs out of its model, after they were loaded.

vLLM fuses layers (q, k and v; gate and up), pads vocabularies, and on a CPU keeps only a packed
copy of a matrix. What is read here is split again along the published checkpoint's tensors.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from assay_trainer.rollout.loaded_weights import LoadedWeights, digests_of

_ROWS = 1024
"""Rows of the unit matrix that a packed matrix is read by at a time."""


def loaded_model(model: nn.Module, dtype: torch.dtype) -> LoadedWeights:
    """Return the digests of all weights of vLLM's model, in the engine's number format."""
    return LoadedWeights(digests_of(_model_tensors(model), dtype))


def loaded_adapter(model: nn.Module, dtype: torch.dtype, adapter_id: int) -> LoadedWeights:
    """Return the digests of what an adapter adds to vLLM's model, as its layers apply it.

    Args:
        model: vLLM's model, with layers that take adapters.
        dtype: the engine's number format.
        adapter_id: vLLM's number of the adapter.
    """
    tensors = dict(_adapter_tensors(model, adapter_id))
    return LoadedWeights(
        digests_of(tensors.items(), dtype), sum(".lora_A." in name for name in tensors)
    )


def _model_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules(remove_duplicate=False):
        for kind, parameter in module.named_parameters(recurse=False):
            tensor = _unpacked(module) if kind == "weight" else parameter
            if (vocabulary := getattr(module, "org_vocab_size", None)) is not None:
                tensor = tensor[:vocabulary]
            names = _unfused(model, path)
            sizes = module.output_sizes if len(names) > 1 else [len(tensor)]
            parts = tensor.split(sizes)
            yield from ((f"{name}.{kind}", part) for name, part in zip(names, parts, strict=True))


def _adapter_tensors(model: Any, adapter_id: int) -> Iterator[tuple[str, Tensor]]:
    manager = model.lora_manager
    if adapter_id not in manager.lora_index_to_id:
        return
    slot = manager.lora_index_to_id.index(adapter_id)
    for path, module in manager.modules.items():
        names = _unfused(model, path)
        for name, stacked_a, stacked_b in zip(
            names, module.lora_a_stacked, module.lora_b_stacked, strict=True
        ):
            a, b = stacked_a[slot, 0], stacked_b[slot, 0]
            # B of a new adapter is zero, A never; a layer that is not adapted has zeros in both.
            if a.any() or b.any():
                yield f"{name}.lora_A.weight", a
                yield f"{name}.lora_B.weight", b


def _unfused(model: Any, path: str) -> list[str]:
    """Return the names of the published layers that one of vLLM's layers holds."""
    parent, dot, last = path.rpartition(".")
    return [f"{parent}{dot}{name}" for name in model.packed_modules_mapping.get(last, [last])]


def _unpacked(module: Any) -> Tensor:
    """Return a layer's matrix; one that is only there packed is read by multiplying with it."""
    weight: Tensor = module.weight
    if weight.numel() or not hasattr(module, "quant_method"):
        return weight
    size = module.input_size_per_partition
    unit = torch.eye(size, dtype=weight.dtype, device=weight.device)
    rows = torch.split(unit, _ROWS)
    return torch.cat([module.quant_method.apply(module, part, None) for part in rows]).T
