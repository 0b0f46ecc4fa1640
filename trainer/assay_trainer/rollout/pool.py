"""Sampling over several engines, each in a Ray actor of its own. One of two modules that use Ray.

Requests are dealt out in order, so the same requests meet the same batch in every run. Every call
has a deadline; an engine that died or hangs is replaced, given the current weights, and asked
again: the seeds belong to the requests, so it draws the same completions.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from torch import Tensor

from assay_api import EngineError
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.models.inputs import Clip
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.sampler import Sample, SampleRequest, SamplingPlan

_MAX_REPLACEMENTS = 3
"""Engines replaced in one call before the stage fails."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A prompt about a clip of the dataset; the engine reads the frames itself."""

    text: str
    row_id: str
    seed: int


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """What the engines of a pool have in common."""

    engine: EngineConfig
    dataset: str
    """URL of the dataset."""
    num_engines: int
    threads_per_engine: int
    num_gpus_per_engine: float
    start_timeout_seconds: float = 900.0
    call_timeout_seconds: float = 1800.0


class _Engine:
    """The actor: a vLLM engine and the dataset that its requests refer to."""

    def __init__(self, config: PoolConfig) -> None:
        import torch

        from assay_trainer.rollout.vllm_engine import VllmSampler

        torch.set_num_threads(config.threads_per_engine)
        self._dataset = ClipDataset.open(open_store(config.dataset))
        self._fps = {row.row_id: row.sampled_fps for row in self._dataset.rows()}
        self._sampler = VllmSampler(config.engine)

    def ready(self) -> int:
        return os.getpid()

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        clips = [
            SampleRequest(
                request.text,
                Clip(self._dataset.frames(request.row_id), self._fps[request.row_id]),
                request.seed,
            )
            for request in requests
        ]
        return self._sampler.sample(clips, plan)

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        self._sampler.load(weights, policy_version)


class RolloutPool:
    """Engines that sample side by side under the same weights."""

    def __init__(self, config: PoolConfig) -> None:
        """Start the engines; `wait_ready` waits for them."""
        self._config = config
        self._actor = ray.remote(num_cpus=1, num_gpus=config.num_gpus_per_engine)(_Engine)
        self._engines = [self._start() for _ in range(config.num_engines)]
        self._weights: tuple[Any, int] | None = None

    def wait_ready(self) -> None:
        """Wait until every engine has loaded its model."""
        self._get([engine.ready.remote() for engine in self._engines], "load the model")

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        """Draw completions for each request, in order.

        Raises:
            EngineError: an engine failed more often than it may be replaced.
        """
        shares = [list(requests[i :: len(self._engines)]) for i in range(len(self._engines))]
        pending = [
            engine.sample.remote(share, plan) if share else None
            for engine, share in zip(self._engines, shares, strict=True)
        ]
        results: list[tuple[Sample, ...]] = [()] * len(requests)
        for index, (share, reference) in enumerate(zip(shares, pending, strict=True)):
            if reference is not None:
                results[index :: len(shares)] = self._finish(index, share, plan, reference)
        return results

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        """Sample from these weights from now on."""
        self._weights = (ray.put(dict(weights)), policy_version)
        self._get([engine.load.remote(*self._weights) for engine in self._engines], "load weights")

    def each(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        """Ask every engine the same, for comparing them."""
        references = [engine.sample.remote([request], plan) for engine in self._engines]
        return [answer[0][0] for answer in self._get(references, "answer the canary")]

    def close(self) -> None:
        """End the engines."""
        for engine in self._engines:
            ray.kill(engine)

    def _start(self) -> Any:
        return self._actor.remote(self._config)

    def _finish(
        self, index: int, share: list[ClipRequest], plan: SamplingPlan, reference: Any
    ) -> list[tuple[Sample, ...]]:
        for replaced in range(_MAX_REPLACEMENTS + 1):
            try:
                answer: list[tuple[Sample, ...]] = ray.get(
                    reference, timeout=self._config.call_timeout_seconds
                )
                return answer
            except (RayActorError, GetTimeoutError) as error:
                if replaced == _MAX_REPLACEMENTS:
                    raise EngineError(
                        f"rollout engine {index} failed {replaced + 1} times in one call: {error}; "
                        "the last checkpoint is kept: the same command goes on from it"
                    ) from error
                reference = self._replace(index).sample.remote(share, plan)
        raise AssertionError("unreachable")

    def _replace(self, index: int) -> Any:
        ray.kill(self._engines[index])
        engine = self._engines[index] = self._start()
        if self._weights is not None:
            engine.load.remote(*self._weights)
        return engine

    def _get(self, references: list[Any], doing: str) -> list[Any]:
        try:
            result: list[Any] = ray.get(references, timeout=self._config.start_timeout_seconds)
            return result
        except (RayActorError, GetTimeoutError) as error:
            raise EngineError(f"a rollout engine did not {doing}: {error}") from error
