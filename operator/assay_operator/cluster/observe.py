"""From what was seen on a cluster to what decisions depend on. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assay_api import Completion
from assay_api.hub import PinnedModel
from assay_api.layout import ResourceId
from assay_api.references import references_of, stage_ids
from assay_operator.children.owner import judge_url
from assay_operator.cluster.seen import Child, Seen, is_server
from assay_operator.conditions import Reason, Verdict
from assay_operator.decision import Role
from assay_operator.observed import Attempt, FailureClass, Finished, Observed
from assay_operator.policies.evidence import Evidence, evidence_of, is_at_work
from assay_operator.policies.stuck import no_progress, stuck_because
from assay_operator.policies.suspension import STOPPED, STOPPED_TOO_LATE, how_it_stopped
from assay_operator.policies.watching import watched_id
from assay_operator.timestamps import epoch_seconds


@dataclass(frozen=True, slots=True)
class Told:
    """What the store of one namespace tells."""

    url: str
    """Its address."""
    finished: Mapping[ResourceId, Finished] = field(default_factory=dict)
    """What has its completion."""
    collected: Mapping[ResourceId, str] = field(default_factory=dict)
    """Identities of collected samples."""
    steps: Mapping[ResourceId, int] = field(default_factory=dict)
    """Steps done."""
    still_since: Mapping[ResourceId, float] = field(default_factory=dict)
    """When that step was first seen, seconds since the epoch."""
    checkpoints: Mapping[ResourceId, int] = field(default_factory=dict)
    """Steps of the newest checkpoints."""
    stops: Mapping[tuple[ResourceId, int], float] = field(default_factory=dict)
    """When attempts were asked to save and stop, seconds since the epoch."""
    pins: Mapping[ResourceId, PinnedModel] = field(default_factory=dict)
    """What is noted of models of the Hub."""
    newest: Mapping[ResourceId, Completion] = field(default_factory=dict)
    """Newest results of evaluations with a schedule."""
    unknown: frozenset[ResourceId] = frozenset()
    """What could not be looked up now: nothing may be concluded about it."""


def observe(seen: Seen, told: Told, now_seconds: float) -> Observed:
    """Return the world of one namespace.

    Args:
        seen: what the API server has.
        told: what the store has, asked after the API server: what ended had written its proof.
        now_seconds: since the epoch.
    """
    attempts: dict[ResourceId, tuple[Attempt, ...]] = {}
    last: dict[ResourceId, int] = {}
    forgotten: dict[ResourceId, Mapping[FailureClass, int]] = {}
    for id_ in seen.resources:
        if id_.kind == "RewardModel":
            attempts[id_] = _served(seen, id_, now_seconds)
            continue
        attempts[id_] = _attempts(seen, told, id_, now_seconds)
        # A schedule is no attempt: what it is made of would change with its own number.
        numbers = [c.attempt for c in seen.own_children(id_) if c.kind != "CronJob"]
        last[id_] = max([int(seen.recorded(id_).get("attempt") or 0), *numbers])
        forgotten[id_] = _forgotten(seen.recorded(id_))
    return Observed(
        store_url=told.url,
        now_seconds=now_seconds,
        resources=seen.resources,
        finished=told.finished,
        attempts=attempts,
        last_attempt=last,
        forgotten=forgotten,
        collected=told.collected,
        pins=told.pins,
        checkpoints=told.checkpoints,
        newest=told.newest,
        on_cluster=True,
    )


def _attempts(seen: Seen, told: Told, id_: ResourceId, now_seconds: float) -> tuple[Attempt, ...]:
    """Return the attempts of what runs to an end: recorded ones, then those with a child."""
    status = seen.recorded(id_)
    recorded = [_recorded(record) for record in status.get("attempts") or ()]
    known = {attempt.number for attempt in recorded}
    children = {c.attempt: c for c in seen.own_children(id_) if c.kind != "CronJob"}
    newest = int(status.get("attempt") or 0)
    found = [
        _started(child, told, id_, now_seconds, status)
        for number, child in children.items()
        if number and number not in known
    ]
    if id_ in told.finished:
        # What has ended since the last record is the attempt that did it.
        found = [attempt for attempt in found if attempt.live]
    elif newest and newest not in known and newest not in children:
        # It was started, and nothing is left of it: somebody deleted the child.
        step = told.steps.get(id_, int(status.get("step") or 0))
        found.append(
            Attempt(
                newest,
                started_seconds=now_seconds,
                ended_seconds=now_seconds,
                step=step,
                failure=FailureClass.INFRASTRUCTURE,
                message="was deleted by somebody else",
            )
        )
    return tuple(sorted([*recorded, *found], key=lambda attempt: attempt.number))


def _recorded(record: Mapping[str, Any]) -> Attempt:
    ended = _seconds_or_zero(str(record.get("endedAt") or ""))
    failure = record.get("failure")
    return Attempt(
        number=int(record["number"]),
        started_seconds=ended,
        ended_seconds=ended,
        exit_code=record.get("exitCode"),
        stopped=failure is None,
        step=int(record.get("step") or 0),
        failure=FailureClass(failure) if failure else None,
        message=str(record.get("message") or ""),
    )


def _seconds_or_zero(timestamp: str) -> float:
    try:
        return epoch_seconds(timestamp)
    except ValueError:
        # Whoever may write statuses may write anything there.
        return 0.0


def _started(
    child: Child, told: Told, id_: ResourceId, now_seconds: float, status: Mapping[str, Any]
) -> Attempt:
    evidence = evidence_of(child.manifest, child.pods)
    attempt = Attempt(
        child.attempt, started_seconds=child.created_seconds, step=told.steps.get(id_, 0)
    )
    asked_seconds = told.stops.get((id_, child.attempt))
    if not evidence.ended:
        return replace(
            attempt,
            stuck=_stuck(child, told, id_, now_seconds),
            at_work=is_at_work(child.manifest),
            asked_to_stop=asked_seconds is not None,
            stopping_since_seconds=_stopping_since(status, asked_seconds),
        )
    # A collection that has its samples has done its part; it never has a completion.
    did_its_part = child.role == Role.COLLECT.value and id_ in told.collected
    if asked_seconds is not None and evidence.failure is None and not did_its_part:
        how = how_it_stopped(attempt.step, told.checkpoints.get(id_))
        return replace(attempt, ended_seconds=now_seconds, stopped=True, message=how)
    return replace(
        attempt,
        ended_seconds=now_seconds,
        exit_code=_exit_code(evidence),
        stopped=did_its_part and evidence.failure is None,
        failure=evidence.failure,
        message=evidence.message,
    )


def _stopping_since(status: Mapping[str, Any], asked_seconds: float | None) -> float | None:
    """Return since when an attempt is waited for to stop: the status tells, or the request.

    The status knows it where the store could not be written; its condition may have held before,
    for another reason.
    """
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions") or ()
    blocked = next((c for c in conditions if c["type"] == "Blocked"), {})
    if blocked.get("reason") != Reason.SUSPENDING:
        # Suspended anew after it was to go on: the time counts from now.
        return None
    told_seconds = _seconds_or_zero(str(blocked.get("lastTransitionTime") or ""))
    return max(told_seconds, asked_seconds or 0.0)


def _exit_code(evidence: Evidence) -> int | None:
    return 0 if evidence.failure is None else evidence.exit_code


def _stuck(child: Child, told: Told, id_: ResourceId, now_seconds: float) -> Verdict | None:
    held = stuck_because(child.manifest, child.pods, now_seconds)
    starts = [(pod.get("status") or {}).get("startTime") for pod in child.pods]
    if held or child.role != Role.TRAIN.value or not any(starts):
        return held
    # The step may be that of an attempt before: this one stands still since its pods started.
    since = max(epoch_seconds(start) for start in starts if start)
    still_since = max(since, told.still_since.get(id_, since))
    return no_progress(told.steps.get(id_, 0), now_seconds - still_since)


def uncertain(seen: Seen, unknown: frozenset[ResourceId]) -> frozenset[ResourceId]:
    """Return what nothing may be concluded about: itself, or what it depends on, is not known."""
    needs = {
        id_: {*stage_ids(resource), *(r.target for r in references_of(resource))}
        for id_, resource in seen.resources.items()
    }
    for id_, resource in seen.resources.items():
        watched = watched_id(resource)
        if watched is not None:
            # It is told what that stage starts from.
            needs[id_] |= needs.get(watched, set())
    for asked in list(needs.values()):
        for judge in asked & needs.keys():
            if judge.kind == "RewardModel":
                # A judge is served or stopped by how those stand that ask it.
                needs[judge] = needs[judge] | asked
    return frozenset(id_ for id_, needed in needs.items() if needed & unknown)


def _served(seen: Seen, id_: ResourceId, now_seconds: float) -> tuple[Attempt, ...]:
    """Return a judge's only attempt: its Deployment starts pods anew by itself."""
    servers = [c for c in seen.own_children(id_) if is_server(c) and not c.is_deleting]
    if not servers:
        return ()
    child = servers[0]
    ready = int((child.manifest.get("status") or {}).get("availableReplicas") or 0) > 0
    stuck = None
    if not ready:
        stuck = stuck_because(child.manifest, child.pods, now_seconds)
    url = judge_url(id_.name, seen.namespace)
    attempt = Attempt(1, child.created_seconds, url=url if ready else None, stuck=stuck)
    return (attempt,)


def _forgotten(status: Mapping[str, Any]) -> Mapping[FailureClass, int]:
    """Return the failures that are counted, but whose records were dropped."""
    counted = status.get("failures") or {}
    kept = Counter(record.get("failure") for record in status.get("attempts") or ())
    return {c: max(0, int(counted.get(c.value) or 0) - kept[c.value]) for c in FailureClass}


def stop_recorded(observed: Observed, id_: ResourceId) -> Observed:
    """Return the world in which the resource's live attempt was stopped on request."""
    *before, newest = observed.attempts_of(id_)
    waited = newest.stopping_since_seconds is not None
    ended = replace(
        newest,
        ended_seconds=observed.now_seconds,
        stopped=True,
        stuck=None,
        message=STOPPED_TOO_LATE if waited else STOPPED,
    )
    return replace(observed, attempts={**observed.attempts, id_: (*before, ended)})
