"""What a look at the world leads to: workloads to start, to stop, and what to say."""

from dataclasses import dataclass
from enum import StrEnum

from assay_api.base import Status
from assay_api.layout import ResourceId
from assay_operator.observed import Orders


class Role(StrEnum):
    """What a workload does."""

    DATASET = "Dataset"
    COLLECT = "Collect"
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    SERVE = "Serve"


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to run, whatever runs it: a process here, a job on a cluster."""

    owner: ResourceId
    """The resource it works for."""
    attempt: int
    """Number of the attempt."""
    role: Role
    """What it does."""
    orders: Orders
    """What it is told."""

    @property
    def name(self) -> str:
        """`KIND-RESOURCE-aN`, unique for ever: no attempt is made twice under one name."""
        return f"{self.owner.kind.lower()}-{self.owner.name}-a{self.attempt}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling once. The shell leaves out those it has told."""

    reason: str
    """Why, as one CamelCase word."""
    message: str
    """What happened and what comes next."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one resource."""

    status: Status
    """The resource's new status."""
    apply: tuple[Workload, ...] = ()
    """Workloads that must run; starting one that runs already changes nothing."""
    delete: tuple[ResourceId, ...] = ()
    """Resources whose live workload must stop."""
    stop: tuple[ResourceId, ...] = ()
    """Resources whose live workload is to be asked to save a checkpoint and to end by itself."""
    events: tuple[Event, ...] = ()
    """What to tell."""
    requeue_after: float | None = None
    """Seconds until the next look is due although nothing else changes; None: no need."""
