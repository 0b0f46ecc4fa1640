"""vLLM's OpenAI-compatible server for a model, set up as the engines of training are.

It loads as much as they do, draws tokens as they do, and takes the same share of its GPU.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from assay_api import InvalidInput
from assay_api.gpu_memory import ENGINE_SHARE, LEAST_CPU_CACHE_BYTES
from assay_trainer.device import require_device, uses_gpu
from assay_trainer.families.registry import model_config
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.engine_memory import (
    check_engine_memory,
    cpu_cache,
    missing_sizes,
    text_config,
)

_LOG = logging.getLogger(__name__)

MODULE = "vllm.entrypoints.openai.api_server"
"""The server, as a Python module."""
DEFAULT_MAX_MODEL_LENGTH = 8192
"""Tokens of a conversation where nothing is said; room for a clip, its question and the answer."""
PRECISIONS = {"float32": "Float32", "bfloat16": "BFloat16"}
"""Precision by vLLM's name of it."""

_FLAGS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "--dtype": ("dtype", str),
    "--max-model-len": ("max_model_length_tokens", int),
    "--gpu-memory-utilization": ("memory_fraction", float),
    "--kv-cache-memory-bytes": ("cache_bytes", int),
}
"""vLLM's flags that we look at before it does."""

# As in training: no defaults of the model's folder, and logits in float32.
_AS_TRAINED = (
    "--generation-config",
    "vllm",
    "--hf-overrides",
    json.dumps({"head_dtype": "float32"}),
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is set up."""

    name: str
    """Name that clients ask for."""
    host: str = "127.0.0.1"
    port: int = 8000
    dtype: str | None = None
    """Number format, by vLLM's name; None: that of the model's files."""
    max_model_length_tokens: int | None = None
    """Longest conversation; None: 8192, or what the model can if that is less."""
    memory_fraction: float = ENGINE_SHARE
    """Share of the whole GPU."""
    cache_bytes: int | None = None
    """KV cache; None: what the GPU's share leaves, on a CPU what a few conversations need."""
    chat_template: Path | None = None
    """File of another chat format than the model's own."""

    def changed_by(self, arguments: Sequence[str]) -> tuple[Self, list[str]]:
        """Return these options as arguments for vLLM's server change them, and the other arguments.

        Example:
            >>> options, rest = ServerOptions("m").changed_by(["--dtype", "float32", "--seed", "1"])
            >>> options.dtype, rest
            ('float32', ['--seed', '1'])
        """
        parser = argparse.ArgumentParser(prog="assay serve", add_help=False, allow_abbrev=False)
        for flag, (name, kind) in _FLAGS.items():
            parser.add_argument(flag, dest=name, type=kind, default=getattr(self, name))
        found, rest = parser.parse_known_args(arguments)
        return replace(self, **vars(found)), rest


def folder_precision(folder: Path) -> str:
    """Return Float32 for a model whose files are in float32, else BFloat16."""
    config = model_config(folder)
    wide = config.get("dtype", config.get("torch_dtype")) == "float32"
    return "Float32" if wide else "BFloat16"


def server_arguments(folder: Path, options: ServerOptions) -> list[str]:
    """Return the arguments of the server's module, after a look whether it can run here.

    Raises:
        InvalidInput: the number format is not allowed, a GPU is wanted and cannot be used, or the
            model does not fit into its share of it.
        EngineError: another process uses the GPU.
    """
    if options.dtype is not None and options.dtype not in PRECISIONS:
        raise InvalidInput(f"--dtype: got {options.dtype!r}, allowed: {', '.join(PRECISIONS)}")
    precision = PRECISIONS[options.dtype] if options.dtype else folder_precision(folder)
    most = text_config(folder).get("max_position_embeddings", DEFAULT_MAX_MODEL_LENGTH)
    length = options.max_model_length_tokens or min(DEFAULT_MAX_MODEL_LENGTH, most)
    config = EngineConfig(precision, length, memory_fraction=options.memory_fraction)
    require_device(precision)
    return [
        *("--model", str(folder), "--served-model-name", options.name),
        *("--host", options.host, "--port", str(options.port)),
        *("--dtype", precision.lower(), "--max-model-len", str(length)),
        *("--gpu-memory-utilization", f"{options.memory_fraction:g}"),
        *_memory(folder, config, options.cache_bytes),
        *_AS_TRAINED,
        *(("--chat-template", str(options.chat_template)) if options.chat_template else ()),
    ]


def _memory(folder: Path, config: EngineConfig, cache_bytes: int | None) -> Sequence[str]:
    missing = missing_sizes(folder)
    if missing:
        _LOG.warning(
            "model %s: config.json has no %s: its memory is not checked before it is loaded",
            folder,
            ", ".join(missing),
        )
    if uses_gpu():
        if not missing:
            import torch

            free, total = torch.cuda.mem_get_info()
            check_engine_memory(folder, config, total_bytes=total, free_bytes=free)
        return ("--kv-cache-memory-bytes", str(cache_bytes)) if cache_bytes else ()
    if cache_bytes is None:
        cache_bytes = LEAST_CPU_CACHE_BYTES if missing else cpu_cache(folder, config)
    # Compiling the model takes longer on a CPU than it saves.
    return ("--kv-cache-memory-bytes", str(cache_bytes), "--enforce-eager")
