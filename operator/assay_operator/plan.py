"""The course of everything that runs to an end: what is to be done about it now."""

from collections.abc import Callable
from dataclasses import dataclass

from assay_api import Dataset, Evaluation, TrainingStage
from assay_api.layout import ResourceId
from assay_api.references import identify
from assay_operator.children.owner import LABEL_ATTEMPT, LABEL_KIND, LABEL_NAME
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.decision import Event, Workload
from assay_operator.observed import Attempt, FailureClass, Observed
from assay_operator.policies.attempts import Failure, pause_seconds
from assay_operator.policies.completion import failure_of, is_finished, is_suspended, outstays
from assay_operator.policies.identity import changed_identity
from assay_operator.policies.suspension import can_save, how_it_rests, seconds_left
from assay_operator.policies.watching import waiting_to_watch


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision whose status is not written out yet."""

    verdict: Verdict
    """Where the resource stands."""
    apply: tuple[Workload, ...] = ()
    """Workloads that must run."""
    delete: tuple[ResourceId, ...] = ()
    """Resources whose live workload must stop."""
    stop: tuple[ResourceId, ...] = ()
    """Resources whose live workload is to be asked to save and to end by itself."""
    events: tuple[Event, ...] = ()
    """What to tell."""
    requeue_after: float | None = None
    """Seconds until the next look is due."""


def run_to_end(
    resource: Dataset | TrainingStage | Evaluation,
    observed: Observed,
    *,
    blocked: Callable[[], Verdict | None],
    workload: Callable[[], Workload],
) -> Plan:
    """Return what to do about a resource that runs until it has finished.

    Args:
        resource: what is wanted.
        observed: what is.
        blocked: tells why it can't start; asked only when it could otherwise.
        workload: makes the next attempt; asked only when nothing blocks it.
    """
    owner = identify(resource)
    live = observed.live_attempt(owner)

    # Finished, as what is asked for now or as something else.
    if is_finished(owner, observed):
        return _finished(resource, observed)

    # Wanted to rest.
    if is_suspended(owner, observed):
        return _resting(owner, observed)

    # Started, and held up.
    if live and live.stuck:
        return Plan(live.stuck)

    # Running: nothing to add.
    if live:
        return Plan(Verdict(State.RUNNING, Reason.RUNNING, _how_it_runs(live)))

    # Failed for good.
    failure = failure_of(owner, observed)
    if failure and failure.final:
        return failed(failure, _log_of(resource, failure) if observed.on_cluster else "")

    # Not startable yet.
    verdict_blocked = blocked()
    if verdict_blocked:
        return Plan(verdict_blocked)

    # Failed a moment ago.
    if failure and (pause := pause_seconds(failure, observed.now_seconds)):
        return retrying(failure, pause)

    # Due.
    started = workload()
    verdict = Verdict(State.PENDING, Reason.DUE, f"attempt {started.attempt} is due")
    return Plan(verdict, apply=(started,))


def _resting(owner: ResourceId, observed: Observed) -> Plan:
    """Return the plan for what the user wants to rest: what can save does so before it goes."""
    live = observed.live_attempt(owner)
    if live is None or not can_save(live):
        verdict = Verdict(State.BLOCKED, Reason.SUSPENDED, how_it_rests(owner, observed))
        return Plan(verdict, delete=(owner,) if live else ())
    left = seconds_left(live, observed.now_seconds)
    verdict = Verdict(
        State.BLOCKED, Reason.SUSPENDING, f"attempt {live.number} saves a checkpoint and stops"
    )
    if left <= 0:
        return Plan(verdict, delete=(owner,))
    return Plan(verdict, stop=() if live.asked_to_stop else (owner,), requeue_after=left)


def _how_it_runs(live: Attempt) -> str:
    if live.asked_to_stop:
        # Whoever wants it to go on again comes too late: it may have seen the request.
        return f"attempt {live.number} saves a checkpoint and stops; then the next one starts"
    return f"attempt {live.number} runs"


def keep_schedule(
    evaluation: Evaluation, observed: Observed, workload: Callable[[], Workload]
) -> Plan:
    """Return what to do about an evaluation that is run again and again.

    The cluster keeps the clock: the workload is the schedule itself, and applying it again
    changes nothing.
    """
    blocked = waiting_to_watch(evaluation, observed)
    if blocked:
        return Plan(blocked)
    message = f"runs at {evaluation.spec.schedule}"
    return Plan(Verdict(State.READY, Reason.SCHEDULED, message), apply=(workload(),))


def _finished(resource: Dataset | TrainingStage | Evaluation, observed: Observed) -> Plan:
    owner = identify(resource)
    changed = changed_identity(resource, observed)
    if changed:
        return Plan(changed, events=(Event(changed.reason, changed.message),))
    verdict = Verdict(State.SUCCEEDED, Reason.COMPLETED)
    if outstays(owner, observed):
        return Plan(verdict, delete=(owner,))
    return Plan(verdict, requeue_after=1.0 if observed.live_attempt(owner) else None)


def failed(failure: Failure, log: str = "") -> Plan:
    """Return the plan for what will not be tried again; `log` tells how its log is read."""
    of_input = failure.failure_class is FailureClass.INPUT
    reason = Reason.INPUT_REFUSED if of_input else Reason.RETRIES_EXHAUSTED
    text = f"{failure.text}; its log: {log}" if log else failure.text
    return Plan(Verdict(State.FAILED, reason, text), events=(Event(reason, text),))


def _log_of(resource: Dataset | TrainingStage | Evaluation, failure: Failure) -> str:
    """Return the command that shows the log of the attempt that failed."""
    of = {
        LABEL_KIND: resource.kind,
        LABEL_NAME: resource.metadata.name,
        LABEL_ATTEMPT: str(failure.attempt.number),
    }
    selector = ",".join(f"{label}={value}" for label, value in of.items())
    return f"kubectl logs --namespace {resource.metadata.namespace} --selector {selector} --tail=50"


def retrying(failure: Failure, pause: float) -> Plan:
    """Return the plan for what is tried again after a pause, in seconds."""
    event = Event(Reason.RETRYING, failure.text)
    verdict = Verdict(State.PENDING, Reason.RETRYING, failure.text)
    return Plan(verdict, events=(event,), requeue_after=pause)
