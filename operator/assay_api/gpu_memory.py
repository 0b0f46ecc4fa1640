"""Memory of inference engines: one policy for rollout, evaluation, detect, serve and judge.

vLLM takes a fixed share of the whole GPU. Weights, the forward pass and CUDA's own memory come
first; the rest is the KV cache. An engine fits when one sequence of the longest length has room.
On a CPU there is no share: the KV cache has a size in bytes.

The trainer checks with these numbers before it loads a model, and `assay plan` plans with them.
"""

from dataclasses import dataclass

GIB = 2**30
BYTES_OF = {"Float32": 4, "BFloat16": 2}
"""Bytes of a number, by precision."""

ENGINE_SHARE = 0.9
"""Share of a GPU that an engine takes when no other process uses that GPU. The rest is for what
vLLM does not count: captured CUDA graphs and the allocator's fragments."""
MAX_SEQUENCES = 256
"""Completions that an engine decodes side by side."""
LEAST_BATCHED_TOKENS = 8192
"""Tokens of one forward pass, at least; a longer prompt is read in one pass, too."""
CUDA_BYTES = int(1.5 * GIB)
"""CUDA's context and libraries, graphs, communication buffers. An assumption, not a formula."""
LEAST_CPU_CACHE_BYTES = 2**29
"""KV cache of an engine on a CPU, at least."""
CPU_CACHE_SEQUENCES = 8
"""Longest sequences that the KV cache on a CPU has room for, at least."""


def batched_tokens(longest_tokens: int) -> int:
    """Return the tokens of an engine's largest forward pass (`max_num_batched_tokens`)."""
    return max(LEAST_BATCHED_TOKENS, longest_tokens)


def text_forward_bytes(
    *, hidden: int, intermediate: int, vocabulary: int, tokens: int, number_bytes: int
) -> int:
    """Return the memory of the text model's forward pass and of the logits, in bytes.

    Args:
        hidden: width of a token.
        intermediate: width inside of an MLP: gate, up and their product exist together.
        vocabulary: logits of a sequence; two copies in float32.
        tokens: tokens of the forward pass.
        number_bytes: bytes of a number.

    Example:
        >>> text_forward_bytes(
        ...     hidden=3584, intermediate=18944, vocabulary=152_064, tokens=8192, number_bytes=2
        ... )  # 8192 * 2 * 71168 + 256 * 152064 * 8
        1477443584
    """
    passing = tokens * number_bytes * (3 * intermediate + 4 * hidden)
    return passing + MAX_SEQUENCES * vocabulary * 8


def cpu_cache_bytes(longest_tokens: int, cache_bytes_per_token: int) -> int:
    """Return the size of the KV cache of an engine on a CPU.

    Example:
        >>> cpu_cache_bytes(2400, 57_344) / GIB  # 8 sequences of the 7B model
        1.025390625
        >>> cpu_cache_bytes(2400, 1024) / GIB
        0.5
    """
    needed = CPU_CACHE_SEQUENCES * longest_tokens * cache_bytes_per_token
    return max(LEAST_CPU_CACHE_BYTES, needed)


@dataclass(frozen=True, slots=True)
class EngineNeed:
    """What one engine must hold before it can answer, in bytes."""

    weights: int
    forward: int
    """The largest forward pass."""
    adapters: int
    """Room for LoRA adapters."""
    sequence: int
    """Keys and values of one longest sequence."""

    @property
    def total(self) -> int:
        """All of it, with CUDA's own memory."""
        return self.weights + self.forward + self.adapters + self.sequence + CUDA_BYTES

    def __str__(self) -> str:
        """Return the terms in GiB."""
        adapters = f"adapters {self.adapters / GIB:.2f} + " if self.adapters else ""
        return (
            f"weights {self.weights / GIB:.2f} + forward pass {self.forward / GIB:.2f} + "
            f"{adapters}KV cache of one sequence {self.sequence / GIB:.2f} + "
            f"CUDA {CUDA_BYTES / GIB:.2f} = {self.total / GIB:.2f} GiB"
        )


def too_large(need: EngineNeed, total_bytes: int, share: float) -> str | None:
    """Return why an engine can never start on a GPU, with the numbers; None when it can.

    Args:
        need: what it must hold.
        total_bytes: the GPU's memory.
        share: the share of `total_bytes` that the engine takes.
    """
    budget = int(share * total_bytes)
    if need.total <= budget:
        return None
    return (
        f"needs {need}, and its share of the GPU is {share:g} x {total_bytes / GIB:.2f} = "
        f"{budget / GIB:.2f} GiB"
    )


def not_free(total_bytes: int, free_bytes: int, share: float) -> str | None:
    """Return why an engine cannot start on a GPU now, with the numbers; None when it can.

    Args:
        total_bytes: the GPU's memory.
        free_bytes: what of it is free now.
        share: the share of `total_bytes` that the engine takes.
    """
    budget = int(share * total_bytes)
    if free_bytes >= budget:
        return None
    return (
        f"takes {share:g} of the GPU, {budget / GIB:.2f} of {total_bytes / GIB:.2f} GiB, and "
        f"{free_bytes / GIB:.2f} GiB are free: another process uses this GPU"
    )
