"""The sampler on vLLM, in this process. The only module that imports vLLM.

What it takes for sampler and learner to agree to the last bits, and for a run to repeat itself:
log-probabilities after temperature and logit bias ("processed"), a seed for each request, and
empty caches after each change of the weights.
"""

import functools
import gc
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

# vLLM reads these when it is imported.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from assay_trainer.device import require_device, uses_gpu

if not uses_gpu():
    # Compiling vLLM's few small compiled functions takes longer on a CPU than running them.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from safetensors.torch import save_file
from torch import Tensor
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from assay_api.gpu_memory import batched_tokens
from assay_api.stage import Lora
from assay_trainer import exported
from assay_trainer.families.family import banned_ids, family_of
from assay_trainer.families.inputs import completion_text
from assay_trainer.models.generation import NO_PENALTIES
from assay_trainer.records import Rollout
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.engine_memory import check_engine_memory, cpu_cache
from assay_trainer.rollout.engine_weights import loaded_adapter, loaded_model
from assay_trainer.rollout.loaded_weights import LoadedWeights
from assay_trainer.rollout.sampler import Sample, SampleRequest, SamplingPlan

BANNED_BIAS = -100.0
"""Added to the logits of ids that must not be drawn."""


class VllmSampler:
    """Draws completions with vLLM under weights that can be replaced."""

    def __init__(self, model: Path, config: EngineConfig) -> None:
        """Load the model of a folder; the adapters, if any, come with the first `load`.

        Raises:
            InvalidInput: a GPU is wanted and cannot be used, or the model does not fit into its
                share of it.
            EngineError: another process uses that GPU.
        """
        require_device(config.precision)
        if uses_gpu():
            free, total = torch.cuda.mem_get_info()
            check_engine_memory(model, config, total_bytes=total, free_bytes=free)
        self._family = family_of(model)
        self._tokenizer = self._family.tokenizer(self._family.processor(model))
        self._bias = dict.fromkeys(banned_ids(self._family, self._tokenizer), BANNED_BIAS)
        self._version = 0
        self._lora = config.lora
        self._dtype: torch.dtype = getattr(torch, config.precision.lower())
        self._adapter: LoRARequest | None = None
        # Only `close` takes it away.
        self._llm: Any = LLM(str(model), **engine_arguments(model, config))

    def __enter__(self) -> Self:
        """Return the sampler itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the engine."""
        self.close()

    def close(self) -> None:
        """End the engine and free its memory; afterwards another one can start in this process.

        It ends this process's default group of torch.distributed as well, which vLLM has made.
        """
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()
        if uses_gpu():
            torch.cuda.empty_cache()

    def sample(
        self, requests: Sequence[SampleRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        """Draw `plan.num_samples` completions for each request, in order.

        What earlier calls have left in the caches is not used: it changes the last bits, and an
        engine that was started anew would not draw the same.
        """
        self._forget()
        prompts = [
            self._family.sampler_prompt(request.text, request.media, self._tokenizer)
            for request in requests
        ]
        started = time.perf_counter()
        outputs = self._llm.generate(
            prompts,
            [self._parameters(plan, request.seed) for request in requests],
            use_tqdm=False,
            lora_request=self._adapter,
        )
        _count(outputs, time.perf_counter() - started)
        return [
            tuple(self._sample(completion, plan) for completion in output.outputs)
            for output in outputs
        ]

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        """Sample from these weights from now on.

        Adapters get a name of their own each time, so nothing that is cached under another
        one can be used. Full weights replace the old ones, and all caches are emptied: the
        scheduler's view of the encoder cache too, which reloading alone leaves wrong.
        """
        started = time.perf_counter()
        if self._lora is not None:
            self._load_adapter(weights, policy_version)
        else:
            self._llm.collective_rpc(
                "reload_weights", kwargs={"weights_iterator": list(weights.items())}
            )
        self._llm.llm_engine.reset_mm_cache()
        self._forget()
        self._version = policy_version
        exported.ROLLOUT_LOAD_SECONDS.inc(time.perf_counter() - started)
        exported.ROLLOUT_VERSION.set(policy_version)

    def loaded(self) -> LoadedWeights:
        """Return what it samples from now, read back from the model that it runs."""
        read = functools.partial(loaded_model, dtype=self._dtype)
        if self._lora is not None:
            number = self._adapter.lora_int_id if self._adapter is not None else 0
            read = functools.partial(loaded_adapter, dtype=self._dtype, adapter_id=number)
        found: list[LoadedWeights] = self._llm.apply_model(read)
        return found[0]

    def _forget(self) -> None:
        self._llm.reset_prefix_cache()
        self._llm.llm_engine.reset_encoder_cache()

    def _load_adapter(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        assert self._lora is not None
        engine, number = self._llm.llm_engine, 1
        if self._adapter is not None:
            engine.remove_lora(self._adapter.lora_int_id)
            number = self._adapter.lora_int_id + 1
        with tempfile.TemporaryDirectory(prefix="assay-adapter-") as folder:
            save_file(dict(weights), Path(folder, "adapter_model.safetensors"))
            Path(folder, "adapter_config.json").write_text(json.dumps(_adapter_config(self._lora)))
            self._adapter = LoRARequest(f"policy-{policy_version}-{number}", number, folder)
            engine.add_lora(self._adapter)

    def _parameters(self, plan: SamplingPlan, seed: int) -> SamplingParams:
        return SamplingParams(
            n=plan.num_samples,
            max_tokens=plan.max_tokens,
            temperature=plan.temperature,
            **NO_PENALTIES,
            logprobs=plan.num_alternatives,
            logit_bias=self._bias,
            seed=seed if plan.temperature > 0 else None,
            # vLLM's own text has neither special tokens nor half a character at its end.
            detokenize=False,
        )

    def _sample(self, completion: Any, plan: SamplingPlan) -> Sample:
        ids = tuple(completion.token_ids)
        tables = completion.logprobs
        rollout = Rollout(
            token_ids=ids,
            sampler_logprobs=tuple(
                table[token].logprob for table, token in zip(tables, ids, strict=True)
            ),
            text=completion_text(self._tokenizer, ids, ended=completion.finish_reason == "stop"),
            truncated=completion.finish_reason == "length",
            policy_version=self._version,
        )
        if not plan.num_alternatives:
            return Sample(rollout)
        return Sample(
            rollout,
            tuple({token: entry.logprob for token, entry in table.items()} for table in tables),
        )


def _count(outputs: Sequence[Any], seconds: float) -> None:
    tokens = sum(len(completion.token_ids) for out in outputs for completion in out.outputs)
    exported.ROLLOUT_REQUESTS.inc(len(outputs))
    exported.ROLLOUT_PROMPT_TOKENS.inc(sum(len(out.prompt_token_ids) for out in outputs))
    exported.ROLLOUT_TOKENS.inc(tokens)
    exported.ROLLOUT_SECONDS.inc(seconds)


def engine_arguments(model: Path, config: EngineConfig) -> dict[str, Any]:
    """Return the arguments of vLLM's `LLM`, apart from the model.

    Args:
        model: the model's folder.
        config: how the engine is set up.
    """
    return {
        "dtype": config.precision.lower(),
        "enforce_eager": not uses_gpu(),
        "max_model_len": config.max_model_length_tokens,
        "max_num_seqs": config.max_sequences,
        "max_num_batched_tokens": batched_tokens(config.max_model_length_tokens),
        # On a CPU vLLM cannot take back the random draw of a half-read prompt.
        "enable_chunked_prefill": uses_gpu(),
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",
        # As the learner does; in BFloat16 a logit between 8 and 16 is only known to 0.06.
        "hf_overrides": {"head_dtype": "float32"},
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "gpu_memory_utilization": config.memory_fraction,
        # The variable VLLM_CPU_KVCACHE_SPACE, in GiB, goes before it.
        "kv_cache_memory_bytes": None if uses_gpu() else cpu_cache(model, config),
        # Of a model's own defaults only the tokens that end an answer are used.
        "generation_config": "vllm",
        **family_of(model).sampler_arguments(config.max_pictures),
        **_lora_arguments(config.lora),
    }


def _lora_arguments(lora: Lora | None) -> dict[str, Any]:
    if lora is None:
        return {}
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora.rank}


def _adapter_config(lora: Lora) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": list(lora.targets),
        "bias": "none",
    }
