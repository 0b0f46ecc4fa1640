"""Sampling over several engines, each in a Ray actor of its own. One of two modules that use Ray.

Requests are dealt out in order, so the same requests meet the same batch in every run. Every call
has a deadline; an engine that died or hangs is replaced, given the current weights, and asked
again: the seeds belong to the requests, so it draws the same completions.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from torch import Tensor

from assay_api import EngineError, EngineLostError
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.exported import ROLLOUT_REPLACEMENTS
from assay_trainer.models.published import model_folder
from assay_trainer.process import ProcessName, set_up_process
from assay_trainer.records import Clip
from assay_trainer.rollout.batch_invariance import sample_batch_invariantly
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.loaded_weights import LoadedWeights, mismatch
from assay_trainer.rollout.sampler import Sample, SampleRequest, SamplingPlan

_LOG = logging.getLogger(__name__)

_MAX_REPLACEMENTS = 3
"""Engines replaced in one call before the stage fails."""

CLIPS_PER_ENGINE = 64
"""Requests that an engine has at once, so that memory for frames and patches, 25 MB a clip at the
paper's size, and the time of a call don't grow with what is asked."""

_Call = Callable[[Any], Any]
"""Starts a remote call on an engine and returns the reference to its answer."""


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
    model: str
    """URL of the model; each engine fetches its own copy."""
    dataset: str
    """URL of the dataset."""
    num_engines: int
    threads_per_engine: int
    num_gpus_per_engine: float
    resource: str | None = None
    """Ray's own resource of the nodes that engines belong on; None: any node."""
    start_timeout_seconds: float = 900.0
    call_timeout_seconds: float = 1800.0
    process: ProcessName | None = None
    """Name of the engines' processes in logs and metrics; None: neither is set up."""


class _Engine:
    """The actor: a vLLM engine and the dataset that its requests refer to."""

    def __init__(
        self,
        config: PoolConfig,
        weights: Mapping[str, Tensor] | None = None,
        policy_version: int = 0,
    ) -> None:
        if config.process is not None:
            set_up_process(config.process)
        import torch

        if config.engine.batch_invariant:
            sample_batch_invariantly()

        from assay_trainer.rollout.vllm_engine import VllmSampler

        started = time.perf_counter()
        torch.set_num_threads(config.threads_per_engine)
        self._dataset = ClipDataset.open(open_store(config.dataset))
        self._fps = {row.row_id: row.sampled_fps for row in self._dataset.rows()}
        self._sampler = VllmSampler(model_folder(config.model), config.engine)
        _LOG.info("is ready after %.1f s", time.perf_counter() - started)
        if weights is not None:
            self.load(weights, policy_version)

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

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> LoadedWeights:
        self._sampler.load(weights, policy_version)
        return self._sampler.loaded()

    def loaded(self) -> LoadedWeights:
        return self._sampler.loaded()


class RolloutPool:
    """Engines that sample side by side under the same weights."""

    def __init__(self, config: PoolConfig) -> None:
        """Start the engines; `wait_ready` waits for them."""
        self._config = config
        self._actor = ray.remote(
            num_cpus=1,
            num_gpus=config.num_gpus_per_engine,
            resources={config.resource: 1} if config.resource else None,
        )(_Engine)
        self._weights: tuple[Any, ...] = ()
        self._loaded: LoadedWeights | None = None
        self._engines = [self._start() for _ in range(config.num_engines)]

    def wait_ready(self) -> None:
        """Wait until every engine has loaded its model.

        Raises:
            EngineError: one did not.
        """
        references = [engine.ready.remote() for engine in self._engines]
        try:
            ray.get(references, timeout=self._config.start_timeout_seconds)
        except (RayActorError, RayTaskError, GetTimeoutError) as error:
            raise EngineError(
                f"a rollout engine did not load the model: {error}; look at its log, and at the "
                "memory that is free"
            ) from error

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        """Draw completions for each request, in order; of many, so many at once.

        Raises:
            EngineError: an engine failed more often than it may be replaced.
        """
        size = CLIPS_PER_ENGINE * len(self._engines)
        return [
            answer
            for start in range(0, len(requests), size)
            for answer in self._sample_at_once(requests[start : start + size], plan)
        ]

    def _sample_at_once(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        count = min(len(self._engines), len(requests))
        shares = [list(requests[index::count]) for index in range(count)]
        answers = self._ask([_sampling(share, plan) for share in shares])
        results: list[tuple[Sample, ...]] = [()] * len(requests)
        for index, answer in enumerate(answers):
            results[index::count] = answer
        return results

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> list[LoadedWeights]:
        """Sample from these weights from now on.

        Returns:
            What each engine has then, as it read it back from its own model. An engine that is
            made later in the place of another must have the same.

        Raises:
            EngineError: an engine failed more often than it may be replaced.
        """
        self._weights, self._loaded = (ray.put(dict(weights)), policy_version), None
        found: list[LoadedWeights] = self._ask(
            [lambda engine: engine.load.remote(*self._weights)] * len(self._engines)
        )
        self._loaded = found[0]
        return found

    def each(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        """Ask every engine the same, for comparing them.

        Raises:
            EngineError: an engine failed more often than it may be replaced.
        """
        answers = self._ask([_sampling([request], plan)] * len(self._engines))
        return [answer[0][0] for answer in answers]

    def close(self) -> None:
        """End the engines."""
        for engine in self._engines:
            ray.kill(engine)

    def _start(self) -> Any:
        return self._actor.remote(self._config, *self._weights)

    def _ask(self, calls: Sequence[_Call]) -> list[Any]:
        """Make the calls side by side, each on the engine at its place; return the answers."""
        pending = [call(engine) for call, engine in zip(calls, self._engines, strict=False)]
        return [
            self._finish(index, call, reference)
            for index, (call, reference) in enumerate(zip(calls, pending, strict=True))
        ]

    def _finish(self, index: int, call: _Call, reference: Any) -> Any:
        for replaced in range(_MAX_REPLACEMENTS + 1):
            try:
                answer = ray.get(reference, timeout=self._config.call_timeout_seconds)
                if replaced and self._loaded is not None:
                    found = self._engines[index].loaded.remote()
                    self._compare(index, ray.get(found, timeout=self._config.call_timeout_seconds))
                return answer
            except (RayActorError, GetTimeoutError) as error:
                if replaced == _MAX_REPLACEMENTS:
                    raise EngineLostError(
                        f"rollout engine {index} failed {replaced + 1} times in one call: {error}; "
                        "the last checkpoint is kept: the same command goes on from it"
                    ) from error
                ROLLOUT_REPLACEMENTS.inc()
                _LOG.warning("rollout engine %d is replaced: %s", index, _first_line(error))
                ray.kill(self._engines[index])
                self._engines[index] = self._start()
                reference = call(self._engines[index])
            except RayTaskError as error:
                raise EngineError(f"rollout engine {index} failed: {error}") from error
        raise AssertionError("the last try returns or raises")

    def _compare(self, index: int, found: LoadedWeights) -> None:
        assert self._loaded is not None
        if differs := mismatch(self._loaded, found):
            raise EngineError(
                f"rollout engine {index} was replaced and does not run policy version "
                f"{self._weights[1]}: {differs}. What it sampled is not used and the last "
                "checkpoint is kept"
            )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _sampling(requests: Sequence[ClipRequest], plan: SamplingPlan) -> _Call:
    return lambda engine: engine.sample.remote(requests, plan)
