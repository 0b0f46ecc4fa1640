"""Sampling over several engines, each in a Ray actor of its own.

Requests are dealt out in order, so the same requests meet the same batch in every run. Every call
has a deadline; an engine that died, hangs or fails is replaced, given the current weights, and
asked again: the seeds belong to the requests, so it draws the same completions.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from torch import Tensor

from assay_api import AssayError, EngineError, EngineLostError, InvalidInput
from assay_trainer.deadlines import ENGINE_REPLACEMENTS
from assay_trainer.exported import ROLLOUT_REPLACEMENTS
from assay_trainer.rollout.engine_actor import PoolConfig
from assay_trainer.rollout.engine_owner import EngineOwner
from assay_trainer.rollout.loaded_weights import LoadedWeights, mismatch
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

_LOG = logging.getLogger(__name__)

CLIPS_PER_ENGINE = 64
"""Requests that an engine has at once, so that memory for frames and patches, 25 MB a clip at the
paper's size, and the time of a call don't grow with what is asked."""

_Call = Callable[[Any], Any]
"""Starts a remote call on an engine and returns the reference to its answer."""


@dataclass(slots=True)
class _Pending:
    """What the engine at one place has still to answer."""

    call: _Call
    """What it is asked."""
    before: list[_Call]
    """What a new engine is asked first: whether it is ready, and to load the weights."""
    due: float
    """When the answer that is awaited now must be there, by the monotonic clock."""
    num_replaced: int = 0


class RolloutPool:
    """Engines that sample side by side under the same weights."""

    def __init__(self, config: PoolConfig, owner: EngineOwner) -> None:
        """Use the engines that the owner has now; `wait_ready` waits for them."""
        self._config = config
        self._owner = owner
        self._engines = owner.engines()
        self._weights: tuple[Any, ...] = ()
        self._loaded: LoadedWeights | None = None

    def wait_ready(self) -> None:
        """Wait until every engine has loaded its model; one that died before is replaced.

        Raises:
            InvalidInput: model or dataset are not what an engine needs.
            EngineError: one failed more often than it may be replaced.
        """
        self._ask([_ready] * len(self._engines), self._config.start_timeout_seconds)

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
        found: list[LoadedWeights] = self._ask([self._load] * len(self._engines))
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
        self._owner.close()

    def _load(self, engine: Any) -> Any:
        return engine.load.remote(*self._weights)

    def _ask(self, calls: Sequence[_Call], seconds: float | None = None) -> list[Any]:
        """Make the calls side by side, each on the engine at its place; return the answers.

        Args:
            calls: at most one for each engine.
            seconds: how long an engine that lives may take; None: as long as for any call.
        """
        limit = self._config.call_timeout_seconds if seconds is None else seconds
        pending = [_Pending(call, [], time.monotonic() + limit) for call in calls]
        answers: list[Any] = [None] * len(calls)
        awaited = {call(self._engines[index]): index for index, call in enumerate(calls)}
        while awaited:
            reference = _first(awaited, pending)
            index = awaited.pop(reference)
            try:
                answer = ray.get(reference, timeout=0)
            except RayError as error:
                self._replace(index, pending[index], error)
            else:
                if not pending[index].before:
                    answers[index] = answer
                    continue
                if pending[index].before.pop(0) == self._load:
                    self._compare(index, answer)
                pending[index].due = time.monotonic() + self._config.call_timeout_seconds
            call = next(iter(pending[index].before), pending[index].call)
            awaited[call(self._engines[index])] = index
        return answers

    def _replace(self, index: int, pending: _Pending, error: RayError) -> None:
        """Put a new engine in the place of one that failed.

        Raises:
            InvalidInput: model or dataset are not what an engine needs.
            EngineError: it failed too often.
        """
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, InvalidInput | AssayError):
            raise cause
        if pending.num_replaced == ENGINE_REPLACEMENTS:
            # What an engine raised comes again; of one that is gone or silent nobody knows.
            raised = isinstance(error, RayTaskError) or (
                isinstance(error, RayActorError) and error.actor_init_failed
            )
            kind = EngineError if raised else EngineLostError
            raise kind(
                f"rollout engine {index} failed {pending.num_replaced + 1} times in one call: "
                f"{error}; look at its log, and at the memory that is free; the last checkpoint is "
                "kept: the same command resumes from it"
            ) from error
        pending.num_replaced += 1
        ROLLOUT_REPLACEMENTS.inc()
        _LOG.warning("rollout engine %d is replaced: %s", index, _reason(error))
        self._engines[index] = self._owner.replace(index)
        pending.before = [_ready, self._load] if self._weights else [_ready]
        pending.due = time.monotonic() + self._config.start_timeout_seconds

    def _compare(self, index: int, found: LoadedWeights) -> None:
        """See that a new engine has what those have that were there before.

        Raises:
            EngineError: it has something else.
        """
        if self._loaded is not None and (differs := mismatch(self._loaded, found)):
            raise EngineError(
                f"rollout engine {index} was replaced and does not run policy version "
                f"{self._weights[1]}: {differs}. Nothing was sampled with it and the last "
                "checkpoint is kept"
            )


def _first(awaited: Mapping[Any, int], pending: Sequence[_Pending]) -> Any:
    """Return the reference whose answer is there first, or was due first."""
    overdue = min(awaited, key=lambda reference: pending[awaited[reference]].due)
    seconds = max(0.0, pending[awaited[overdue]].due - time.monotonic())
    answered, _ = ray.wait(list(awaited), timeout=seconds)
    return answered[0] if answered else overdue


def _reason(error: RayError) -> str:
    """Return one line: what a trace of the engine's process ends with."""
    if isinstance(error, GetTimeoutError):
        return "it did not answer in time"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _ready(engine: Any) -> Any:
    return engine.ready.remote()


def _sampling(requests: Sequence[ClipRequest], plan: SamplingPlan) -> _Call:
    return lambda engine: engine.sample.remote(requests, plan)
