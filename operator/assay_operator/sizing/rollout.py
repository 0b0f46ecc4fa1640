"""Memory of a rollout engine, a judge or an evaluation: vLLM on its GPUs.

vLLM takes a fixed share of each GPU, and what weights and its own forward leave of it is the cache
of keys and values. How many completions it writes side by side follows from that.

Source: `assay_api.gpu_memory` (the settings, which the trainer shares), vLLM 0.32
(`GPUModelRunner.profile_run`, `KVCacheConfig`).
"""

import math
from dataclasses import dataclass

from assay_api.gpu_memory import (
    CUDA_BYTES,
    ENGINE_SHARE,
    MAX_SEQUENCES,
    batched_tokens,
    cpu_cache_bytes,
    text_forward_bytes,
)
from assay_operator.sizing.activations import vision_transient_bytes
from assay_operator.sizing.shape import PATCHES_PER_TOKEN, TEXT_LINEARS, ModelShape
from assay_operator.sizing.terms import GIB, Term, in_millions, total_bytes

BLOCK_TOKENS = 16
"""Tokens of a block of the cache: vLLM's default."""


@dataclass(frozen=True, slots=True)
class EngineJob:
    """What one engine serves."""

    shape: ModelShape
    number_bytes: int
    tensor_parallel: int
    prompt_tokens: int
    completion_tokens: int
    group_size: int
    lora_rank: int = 0
    fraction: float = ENGINE_SHARE
    context_tokens: int | None = None
    """Longest sequence, where it is not prompt and completion."""

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.context_tokens or self.prompt_tokens + self.completion_tokens

    @property
    def cpu_bytes(self) -> int:
        """Bytes of weights and cache where there is no GPU."""
        per_token = self.shape.kv_bytes_per_token(self.number_bytes)
        weights = self.shape.parameters * self.number_bytes
        return weights + cpu_cache_bytes(self.max_length, per_token)


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """How an engine uses one of its GPUs."""

    terms: tuple[Term, ...]
    """What comes before the cache."""
    budget_bytes: int
    """What vLLM may take."""
    cache_bytes: int
    """Left for keys and values; negative: not even the weights fit."""
    cache_tokens: int
    """Tokens that the cache holds."""
    sequences: int
    """Longest completions that are written side by side."""
    max_length: int
    """Tokens of the longest sequence: at least so many must fit."""

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: one longest sequence has room."""
        return self.cache_tokens >= self.max_length

    @property
    def problems(self) -> list[str]:
        """Why it does not start, with the numbers; empty when it does."""
        if self.fits:
            return []
        return [
            f"of vLLM's {self.budget_bytes / GIB:.1f} GiB {self.cache_bytes / GIB:.1f} GiB are "
            f"left for keys and values, {self.cache_tokens:,} tokens; one sequence has "
            f"{self.max_length:,}"
        ]


def plan_engine(job: EngineJob, gpu_bytes: int) -> EnginePlan:
    """Return how an engine uses each of its GPUs."""
    terms = tuple(_terms(job))
    budget = int(job.fraction * gpu_bytes)
    cache = budget - total_bytes(terms)
    # Fewer heads than GPUs: each head of keys is held several times.
    shards = min(job.tensor_parallel, job.shape.kv_heads)
    per_token = job.shape.kv_bytes_per_token(job.number_bytes) // shards
    tokens = max(0, cache // per_token // BLOCK_TOKENS * BLOCK_TOKENS)
    return EnginePlan(terms, budget, cache, tokens, sequences_at_once(job, tokens), job.max_length)


def sequences_at_once(job: EngineJob, cache_tokens: int) -> int:
    """Return how many longest completions fit into a cache; those of a group share their prompt.

    Example:
        >>> from assay_operator.sizing.shape import KNOWN
        >>> job = EngineJob(KNOWN["Qwen2.5-VL-7B"], 2, 1, 1600, 800, group_size=8)
        >>> sequences_at_once(job, 16_000)  # a whole group takes 1600 + 8 * 800 = 8000
        16
    """
    prompt, completion = _blocks(job.prompt_tokens), _blocks(job.completion_tokens)
    blocks = cache_tokens // BLOCK_TOKENS
    whole = blocks // (prompt + job.group_size * completion)
    rest = blocks - whole * (prompt + job.group_size * completion)
    more = max(0, (rest - prompt) // completion)
    return min(MAX_SEQUENCES, whole * job.group_size + more)


def _blocks(tokens: int) -> int:
    return math.ceil(tokens / BLOCK_TOKENS)


def _terms(job: EngineJob) -> list[Term]:
    shape, s, tp = job.shape, job.number_bytes, job.tensor_parallel
    batched = batched_tokens(job.max_length)
    logits = MAX_SEQUENCES * shape.vocabulary * 8
    text = text_forward_bytes(
        hidden=shape.hidden,
        intermediate=shape.intermediate // tp,
        vocabulary=shape.vocabulary,
        tokens=batched,
        number_bytes=s,
    )
    vision = logits + vision_transient_bytes(shape, s, batched * PATCHES_PER_TOKEN)
    terms = [
        Term(
            "weights", shape.parameters * s // tp, f"{in_millions(shape.parameters)} x {s} / {tp}"
        ),
        Term(
            "forward",
            max(text, vision),
            f"the larger of {batched:,} text tokens and as many visual ones; logits of "
            f"{MAX_SEQUENCES} sequences",
        ),
        Term("CUDA, graphs, NCCL", CUDA_BYTES, "assumed"),
    ]
    if job.lora_rank:
        rank = job.lora_rank
        adapters = shape.lora_parameters(rank, TEXT_LINEARS)
        why = f"room for rank {rank} on all linears: {in_millions(adapters)} x {s}"
        terms.append(Term("adapters", adapters * s, why))
    return terms
