"""What an engine needs of a GPU, computed from the model's files before anything is loaded.

The numbers are those of `assay_api.gpu_memory`. They leave out the vision tower's forward pass,
which `assay plan` counts. What is refused here cannot run; of the rest, vLLM finds out by running
its largest forward pass.
"""

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from assay_api import EngineError, InvalidInput
from assay_api.gpu_memory import (
    BYTES_OF,
    EngineNeed,
    batched_tokens,
    cpu_cache_bytes,
    not_free,
    text_forward_bytes,
    too_large,
)
from assay_trainer.families.registry import model_config
from assay_trainer.rollout.engine_config import EngineConfig

_SIZES = (
    *("hidden_size", "intermediate_size", "vocab_size"),
    *("num_hidden_layers", "num_attention_heads"),
)


def check_engine_memory(
    model: Path, config: EngineConfig, *, total_bytes: int, free_bytes: int
) -> None:
    """Return if an engine can start on a GPU.

    Args:
        model: the model's folder.
        config: how the engine is set up.
        total_bytes: the GPU's memory.
        free_bytes: what of it is free now.

    Raises:
        InvalidInput: it does not fit into its share of the GPU; the message has the numbers.
        EngineError: it would fit, but another process uses the GPU.
    """
    need = engine_need(model, config)
    share = config.memory_fraction
    if problem := too_large(need, total_bytes, share):
        raise InvalidInput(
            f"model {model}, {config.precision}, sequences of {config.max_model_length_tokens} "
            f"tokens: {problem}. Use a GPU with more memory, precision BFloat16, a smaller model, "
            "or fewer frames and completion tokens"
        )
    if problem := not_free(total_bytes, free_bytes, share):
        raise EngineError(
            f"model {model}: an engine {problem}. End that process (nvidia-smi names it), use "
            "another GPU (CUDA_VISIBLE_DEVICES), or give the engine a smaller share (assay detect "
            "--gpu-share, assay serve --gpu-memory-utilization)"
        )


def engine_need(model: Path, config: EngineConfig) -> EngineNeed:
    """Return what an engine must hold, in bytes.

    Args:
        model: the model's folder, with `config.json` and weights.
        config: how the engine is set up.
    """
    text, number_bytes = text_config(model), BYTES_OF[config.precision]
    rank = config.lora.rank if config.lora is not None else 0
    return EngineNeed(
        weights=num_weights(model) * number_bytes,
        forward=text_forward_bytes(
            hidden=text["hidden_size"],
            intermediate=text["intermediate_size"],
            vocabulary=text["vocab_size"],
            tokens=batched_tokens(config.max_model_length_tokens),
            number_bytes=number_bytes,
        ),
        adapters=_adapter_numbers(text, rank) * number_bytes,
        sequence=config.max_model_length_tokens * _cache_numbers(text) * number_bytes,
    )


def cpu_cache(model: Path, config: EngineConfig) -> int:
    """Return the bytes of the KV cache of an engine on a CPU."""
    per_token = _cache_numbers(text_config(model)) * BYTES_OF[config.precision]
    return cpu_cache_bytes(config.max_model_length_tokens, per_token)


def num_weights(model: Path) -> int:
    """Return how many numbers the weights of a folder are; only the files' headers are read."""
    total = 0
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            total += sum(math.prod(weights.get_slice(n).get_shape()) for n in weights.keys())
    return total


def missing_sizes(model: Path) -> list[str]:
    """Return the fields that `config.json` lacks, of those that the computation needs."""
    found = text_config(model)
    return [name for name in _SIZES if name not in found]


def text_config(model: Path) -> dict[str, Any]:
    """Return the configuration of the text model: a published one has it beside the vision tower's.

    Raises:
        InvalidInput: it is not JSON.
    """
    config = model_config(model)
    return {**config, **config.get("text_config", {})}


def _head_size(text: dict[str, Any]) -> int:
    own: int | None = text.get("head_dim")
    return own or text["hidden_size"] // text["num_attention_heads"]


def _cache_numbers(text: dict[str, Any]) -> int:
    """Return how many numbers the keys and values of one token are, in all layers."""
    heads = text.get("num_key_value_heads") or text["num_attention_heads"]
    numbers: int = 2 * text["num_hidden_layers"] * heads * _head_size(text)
    return numbers


def _adapter_numbers(text: dict[str, Any], rank: int) -> int:
    """Return the numbers of adapters on all linears of the text model: vLLM makes room for all."""
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    queries = text["num_attention_heads"] * _head_size(text)
    keys = (text.get("num_key_value_heads") or text["num_attention_heads"]) * _head_size(text)
    sides = (hidden + queries) + 2 * (hidden + keys) + (queries + hidden) + 3 * (hidden + inner)
    numbers: int = text["num_hidden_layers"] * rank * sides
    return numbers
