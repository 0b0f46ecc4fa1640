"""vLLM's batch-invariant mode: where it can be had, and how it is asked for.

Source: documentation of vLLM 0.32, "Batch Invariance", hardware requirements.
"""

import os

import torch

from assay_api import InvalidInput

_LEAST_CAPABILITY = (8, 0)
_FIELD = "spec.rl.batchInvariant: true"
_REMEDY = (
    "remove the field, or use NVIDIA GPUs of compute capability 8.0 or later, such as A100 or H100"
)


def check_gpus_for_batch_invariance(num_gpus: float) -> None:
    """Raise InvalidInput where engines would run on CPUs."""
    if not num_gpus:
        raise InvalidInput(
            f"{_FIELD} changes nothing on a CPU, and no GPU was found for the rollout engines: "
            f"{_REMEDY}. On CPUs a run repeats bit for bit without it, with as many engines"
        )


def sample_batch_invariantly() -> None:
    """Have this process's engine use batch-invariant kernels; before vLLM is imported.

    Raises:
        InvalidInput: this process has no GPU for which vLLM has such kernels.
    """
    check_gpus_for_batch_invariance(torch.cuda.device_count())
    capability = torch.cuda.get_device_capability()
    if capability < _LEAST_CAPABILITY:
        raise InvalidInput(
            f"{_FIELD}: vLLM has no batch-invariant kernels for {torch.cuda.get_device_name()} "
            f"(compute capability {'.'.join(map(str, capability))}): {_REMEDY}"
        )
    os.environ["VLLM_BATCH_INVARIANT"] = "1"
