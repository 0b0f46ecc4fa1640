"""Standard conditions out of one verdict, and the verdict back out of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from assay_api.base import Condition, Status


class State(StrEnum):
    """Where a resource stands, in one word."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    BLOCKED = "Blocked"
    PENDING = "Pending"
    RUNNING = "Running"
    READY = "Ready"
    STOPPED = "Stopped"


class Reason(StrEnum):
    """Why a resource is in its state."""

    COMPLETED = "Completed"
    RUNNING = "Running"
    DUE = "Due"
    STARTING = "Starting"
    RETRYING = "Retrying"
    SERVING = "Serving"
    NOT_NEEDED = "NotNeeded"
    WAITING_FOR_STAGE = "WaitingForStage"
    WAITING_FOR_DATASET = "WaitingForDataset"
    WAITING_FOR_REWARD_MODEL = "WaitingForRewardModel"
    GATE_NOT_PASSED = "GateNotPassed"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    SPEC_CHANGED = "SpecChanged"
    INPUT_REFUSED = "InputRefused"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    SCHEDULED = "Scheduled"
    QUEUED = "Queued"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CONTAINER_CONFIG = "ContainerConfig"
    CRASH_LOOP = "CrashLoop"
    NO_PODS = "NoPods"
    NO_PROGRESS = "NoProgress"
    PLACEMENT_REFUSED = "PlacementRefused"
    CHILD_REFUSED = "ChildRefused"
    PREDECESSOR_LIVES = "PredecessorLives"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state with its reason, for machines and for people."""

    state: State
    """Where the resource stands."""
    reason: Reason
    """Why, as one word."""
    message: str = ""
    """Why, for people."""


def conditions(verdict: Verdict, generation: int) -> tuple[Condition, ...]:
    """Return the conditions Ready, Succeeded, Blocked and Failed that say the verdict.

    Ready means that others can use the resource: its result, or the server that it is.
    """
    holds = {
        "Ready": verdict.state in (State.SUCCEEDED, State.READY),
        "Succeeded": verdict.state is State.SUCCEEDED,
        "Blocked": verdict.state is State.BLOCKED,
        "Failed": verdict.state is State.FAILED,
    }
    return tuple(
        Condition(
            type=name,
            status=_truth(true),
            reason=verdict.reason,
            message=verdict.message,
            observed_generation=generation,
        )
        for name, true in holds.items()
    )


def _truth(value: bool) -> Literal["True", "False"]:
    return "True" if value else "False"


def verdict_of(status: Status) -> Verdict:
    """Return the verdict that a status says."""
    ready = status.condition("Ready")
    assert ready is not None, "every reconciled status has all conditions"
    holds = {condition.type for condition in status.conditions if condition.status == "True"}
    return Verdict(state_of(holds, ready.reason), Reason(ready.reason), ready.message)


def state_of(holds: Collection[str], reason: str) -> State:
    """Return the state that conditions say.

    Args:
        holds: types of the conditions that are true.
        reason: of the condition Ready.
    """
    for name in ("Failed", "Blocked", "Succeeded", "Ready"):
        if name in holds:
            return State(name)
    return _UNDER_WAY.get(reason, State.RUNNING)


_UNDER_WAY: Mapping[str, State] = {
    Reason.NOT_NEEDED: State.STOPPED,
    Reason.DUE: State.PENDING,
    Reason.RETRYING: State.PENDING,
}
