"""What is seen of the world in one pass; decisions depend on nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from assay_api import (
    Completion,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
)
from assay_api.base import Model
from assay_api.hub import PinnedModel
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.reward_model import Protocol
from assay_operator.conditions import Verdict

Job = ResolvedDatasetJob | ResolvedStageJob | ResolvedEvaluationJob


class FailureClass(StrEnum):
    """Whose fault a failed attempt is; each class but the last has a budget in `spec.retry`."""

    PREEMPTION = "preemption"
    INFRASTRUCTURE = "infrastructure"
    APPLICATION = "application"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One workload that was started for a resource."""

    number: int
    """Counts the attempts of the resource, from 1, earlier runs included."""
    started_seconds: float
    """When it started, on the clock of `Observed.now_seconds`."""
    ended_seconds: float | None = None
    """When it ended; None while it lives."""
    exit_code: int | None = None
    """What it ended with; negative: the signal that killed it."""
    stopped: bool = False
    """Whether it ended because the operator asked for that."""
    url: str | None = None
    """Where a server answers, up to and including /v1; None until it was ready once."""
    step: int = 0
    """Optimiser steps done when it was last looked at."""
    ready_by_seconds: float | None = None
    """When a server must have been ready; None for what is no server."""
    failure: FailureClass | None = None
    """Whose fault its end is, where more is known than the exit code tells."""
    message: str = ""
    """How it ended, where more is known than the exit code tells."""
    stuck: Verdict | None = None
    """Why it does not run although it was started; None: it does, or has ended."""

    at_work: bool = False
    """Whether its program runs, as far as is told: it can be asked to save and stop."""
    asked_to_stop: bool = False
    """Whether the store has the request to it to save and stop."""
    stopping_since_seconds: float | None = None
    """Since when it is waited for to save and stop; None: it is not."""

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.ended_seconds is None

    def is_late(self, now_seconds: float) -> bool:
        """Tell whether a server was not ready in time, by now or by its end."""
        if self.ready_by_seconds is None or self.url is not None:
            return False
        end = now_seconds if self.ended_seconds is None else self.ended_seconds
        return end > self.ready_by_seconds


@dataclass(frozen=True, slots=True)
class Finished:
    """A completion that lies in the store."""

    completion: Completion
    """The proof."""
    job: Job | None = None
    """The orders of the attempt that finished; None when they are gone."""
    seen_seconds: float = 0.0
    """When it was first seen, on the clock of `Observed.now_seconds`."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the world."""

    store_url: str
    """URL of the store."""
    now_seconds: float
    """The time of the look, on a monotonic clock."""
    resources: Mapping[ResourceId, Resource]
    """Everything that was applied, pipelines expanded."""
    finished: Mapping[ResourceId, Finished] = field(default_factory=dict)
    """What has its completion in the store, resources that nobody applied included."""
    attempts: Mapping[ResourceId, tuple[Attempt, ...]] = field(default_factory=dict)
    """The attempts that count, oldest first; at most the last one lives."""
    last_attempt: Mapping[ResourceId, int] = field(default_factory=dict)
    """Number of the newest attempt ever made."""
    forgotten: Mapping[ResourceId, Mapping[FailureClass, int]] = field(default_factory=dict)
    """Failures before the oldest of `attempts`, by class."""
    collected: Mapping[ResourceId, str] = field(default_factory=dict)
    """Identity of the samples that a fusion stage has collected, where that is done apart."""
    pins: Mapping[ResourceId, PinnedModel] = field(default_factory=dict)
    """What resources have noted of the models of the Hub that they use."""
    checkpoints: Mapping[ResourceId, int] = field(default_factory=dict)
    """Step of the newest complete checkpoint, as far as it was looked at."""
    newest: Mapping[ResourceId, Completion] = field(default_factory=dict)
    """Newest results of evaluations with a schedule, of any checkpoint: no proof of an end."""
    on_cluster: bool = False
    """Whether workloads are Kubernetes jobs: a stage may need two, and schedules are kept."""

    def attempts_of(self, resource: ResourceId) -> tuple[Attempt, ...]:
        """Return the attempts that count, oldest first."""
        return self.attempts.get(resource, ())

    def live_attempt(self, resource: ResourceId) -> Attempt | None:
        """Return the attempt that runs now, if there is one."""
        attempts = self.attempts_of(resource)
        return attempts[-1] if attempts and attempts[-1].live else None

    def next_attempt(self, resource: ResourceId) -> int:
        """Return the number of an attempt that is started now."""
        return self.last_attempt.get(resource, 0) + 1

    def completion(self, resource: ResourceId) -> Completion | None:
        """Return the proof that the resource finished, if there is one."""
        found = self.finished.get(resource)
        return found.completion if found else None

    def pin(self, resource: ResourceId, uri: str | None) -> PinnedModel | None:
        """Return what a resource has noted of the model of the Hub that a URI names, if it has."""
        found = self.pins.get(resource)
        return found if found is not None and found.uri == uri else None

    def url(self, resource: ResourceId, path: str = ".") -> str:
        """Return the URL of something in the resource's folder."""
        folder = f"{self.store_url.rstrip('/')}/{resource.folder}"
        return folder if path in (".", "") else f"{folder}/{path}"

    def dataset_url(self, name: str) -> str:
        """Return the URL of a finished dataset."""
        dataset = ResourceId("Dataset", name)
        return self.url(dataset, self.finished[dataset].completion.result)


class ServeOrders(Model):
    """Orders to serve a model behind an OpenAI-compatible API."""

    name: str
    """Name of the RewardModel, and of the model that the server knows."""
    model: str
    """URL of the Hugging Face folder."""
    num_frames: int
    """Images in one request, at most."""
    max_model_length_tokens: int
    """Context of the model."""
    precision: str
    """Number format of the weights: Float32 or BFloat16."""
    protocol: Protocol = "Chat"
    """How it is asked."""
    port: int
    """Port that is asked for; 0: any that is free."""
    start_timeout_seconds: float
    """Time it has to become ready."""
    pin: str | None = None
    """URL of the folder where the commit of a model of the Hub is noted; None: it is another's."""
    pool: str = "default"
    """Node pool that serves it; on one machine there is none."""


Orders = Job | ServeOrders
