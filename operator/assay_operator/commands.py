"""What the programs of workloads are called with: here and in containers the same."""

import json

from assay_api.gpu_memory import ENGINE_SHARE
from assay_operator.observed import ServeOrders

ASSAY = ("-m", "assay_trainer.cli.main")
"""The `assay` command, for a Python interpreter."""
PYTHON = "python"
"""The interpreter of an image, by its PATH."""
SERVER_ENV = {"VLLM_NO_USAGE_STATS": "1"}
"""Variables of vLLM's server."""

_LEAST_IMAGES_PER_REQUEST = 16
_CPU_SHARE = 0.1
"""On CPUs only a check: so much of the machine's memory has to be free."""


def train_arguments(orders: str, *, collect_only: bool = False) -> tuple[str, ...]:
    """Return the arguments of a stage's program, which reads its orders from a file."""
    return (*ASSAY, "train", *(("--collect-only",) if collect_only else ()), "--stage", orders)


def dataset_arguments(orders: str) -> tuple[str, ...]:
    """Return the arguments of the program that makes a dataset."""
    return (*ASSAY, "data", "build", orders)


def evaluation_arguments(orders: str) -> tuple[str, ...]:
    """Return the arguments of the program that evaluates a model."""
    return (*ASSAY, "eval", "--orders", orders)


def serve_arguments(
    orders: ServeOrders,
    *,
    host: str,
    port: int,
    on_gpu: bool,
    cache_bytes: int | None = None,
) -> tuple[str, ...]:
    """Return the arguments of a reward model's server.

    Args:
        orders: what is served.
        host: address to listen on.
        port: port to listen on.
        on_gpu: whether it has a GPU of its own: then it records CUDA graphs, slower to start and
            faster to answer.
        cache_bytes: memory for keys and values; none: a GPU's share, or the environment's.
    """
    common = (
        *(*ASSAY, "serve", "--own-chat-template", "--model", orders.model, "--name", orders.name),
        *(("--pin", orders.pin) if orders.pin else ()),
        *("--host", host, "--port", str(port)),
        *("--dtype", orders.precision.lower()),
        *("--max-model-len", str(orders.max_model_length_tokens)),
    )
    if orders.protocol == "Pairs":
        return common  # It keeps no keys and values, and is shown no images.
    images = max(_LEAST_IMAGES_PER_REQUEST, orders.num_frames)
    return (
        *common,
        *(() if on_gpu else ("--enforce-eager",)),
        *("--gpu-memory-utilization", str(ENGINE_SHARE if on_gpu else _CPU_SHARE)),
        *(("--kv-cache-memory-bytes", str(cache_bytes)) if cache_bytes else ()),
        # Probes and Prometheus ask every few seconds, which is no news.
        *("--disable-access-log-for-endpoints", "/health,/metrics"),
        *("--limit-mm-per-prompt", json.dumps({"image": images, "video": 1})),
    )
