"""What an engine has loaded, as digests that learner and engine compute alike.

The canonical form of a weight: the part of the engine's parameter that belongs to one exported
tensor, in the engine's number format, under its name without the names of wrappers. Of adapters it
is what the engine multiplies by: B is already scaled by alpha / rank.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from assay_api.stage import Lora

_WRAPPERS = frozenset({"base_model", "model", "language_model", "base_layer"})
"""Parts of names by which the same weight is called differently in different programs."""
_THREADS = 8
"""hashlib releases Python's lock, so that tensors are hashed side by side."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What a sampler runs, or must run."""

    digests: Mapping[str, str]
    """SHA-256 of each tensor by its canonical name."""
    num_adapted_modules: int = 0
    """Layers to which adapters are applied."""


def canonical_name(name: str) -> str:
    """Return a weight's name without what only says how its module is wrapped.

    Example:
        >>> canonical_name("model.language_model.layers.0.mlp.up_proj.weight")
        'layers.0.mlp.up_proj.weight'
        >>> canonical_name("language_model.model.layers.0.mlp.up_proj.weight")
        'layers.0.mlp.up_proj.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def digests_of(tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> dict[str, str]:
    """Return the SHA-256 of each tensor in a number format, by canonical name."""
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(
            lambda entry: (canonical_name(entry[0]), _sha256(entry[1], dtype)), tensors
        )
        return dict(found)


def weights_to_load(
    exported: Mapping[str, Tensor], dtype: torch.dtype, lora: Lora | None
) -> LoadedWeights:
    """Return what an engine must answer after it was given these weights.

    Args:
        exported: the learner's weights, or its adapters alone.
        dtype: the engine's number format.
        lora: the adapters; None: the weights are whole.
    """
    if lora is None:
        return LoadedWeights(digests_of(exported.items(), dtype))
    scaling = lora.alpha / lora.rank
    # vLLM scales B in the engine's number format, so the rounding is part of the canonical form.
    scaled = {
        name: tensor.to(dtype) * scaling if ".lora_B." in name else tensor
        for name, tensor in exported.items()
    }
    adapted = sum(".lora_A." in name for name in exported)
    return LoadedWeights(digests_of(scaled.items(), dtype), adapted)


def mismatch(wanted: LoadedWeights, found: LoadedWeights) -> str | None:
    """Return how what an engine has differs from what it must have; None: it does not."""
    differ = [name for name, digest in wanted.digests.items() if found.digests.get(name) != digest]
    if not differ and found.num_adapted_modules == wanted.num_adapted_modules:
        return None
    told = f"{len(differ)} of {len(wanted.digests)} tensors differ from the learner's"
    if differ:
        told += f", such as {differ[0]}"
    if wanted.num_adapted_modules:
        told += (
            f"; {found.num_adapted_modules} modules are adapted, "
            f"of {wanted.num_adapted_modules} that the learner adapts"
        )
    return told


def _sha256(tensor: Tensor, dtype: torch.dtype) -> str:
    # Adding zero makes -0 to 0: what is read back by multiplying has lost that sign.
    values = tensor.detach().to("cpu", dtype).contiguous() + 0.0
    content = hashlib.sha256(f"{dtype} {tuple(values.shape)} ".encode())
    content.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()
