"""What to write to the API server about one resource, in order. Pure.

The order is what makes a crash between two writes harmless: an attempt's end is recorded before
its child goes, and only when child and pods are gone comes the next one. All names are fixed, so
that a write made twice meets itself.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay_api import Evaluation, TrainingPipeline, TrainingStage
from assay_api.base import Status
from assay_api.digest import canonical_json
from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify
from assay_operator.children.owner import Manifest, Owner, is_scheduled
from assay_operator.cluster.observe import stop_recorded
from assay_operator.cluster.seen import Child, Seen, attempt_of, is_owned, is_server, may_run
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.decision import Decision, Role, Workload
from assay_operator.observed import Observed
from assay_operator.pipelines import expand
from assay_operator.policies.completion import is_suspended
from assay_operator.policies.evidence import evidence_of
from assay_operator.reconcile import reconcile
from assay_operator.statuses import with_verdict

MADE_OF = "assay.dev/made-of"
"""Annotation: SHA-256 of the manifest as it was built, on what is kept up to date."""

BuildChildren = Callable[[Workload, Owner], Sequence[Manifest]]
"""Makes the objects of a workload, the job itself last; InvalidInput: it fits no pool."""


@dataclass(frozen=True, slots=True)
class Actions:
    """Writes about one resource, in this order."""

    status: Status
    """The new status; it is written first, and only if it says something new."""
    delete: tuple[Manifest, ...] = ()
    """Objects that must go."""
    create: tuple[Manifest, ...] = ()
    """Objects that must be there; those that are, stay."""
    replace: tuple[Manifest, ...] = ()
    """Stages of a pipeline whose spec is another now."""
    stop: int | None = None
    """Number of the attempt that is to be asked, by the store, to save and stop."""
    requeue_after: float | None = None
    """Seconds until the next look is due although nothing else changes."""


def decide(resource: Resource, seen: Seen, observed: Observed, build: BuildChildren) -> Actions:
    """Return what to write about a resource."""
    id_ = identify(resource)
    decision = reconcile(resource, observed)
    if isinstance(resource, TrainingPipeline):
        return _pipeline(resource, seen, decision)
    if decision.delete:
        return _stop(resource, seen, observed, decision)
    stale = leftovers(id_, seen)
    if not decision.apply:
        return _wait(id_, seen, observed, decision, stale)
    if is_kept(decision.apply[0]):
        return _keep(resource, seen, observed, decision, build)
    return _start(resource, seen, observed, decision, build, stale)


def needs_no_store(id_: ResourceId, seen: Seen, observed: Observed) -> bool:
    """Tell whether what is to be done about a resource is known without the store.

    A stage that is to rest is waited for no longer because the store is away. Only of an end that
    is not on record nobody knows, without the store, what it was.
    """
    return is_suspended(id_, observed) and not _unrecorded(id_, seen, observed)


def is_kept(workload: Workload) -> bool:
    """Tell whether a workload is one that stays, and is brought up to date: server or schedule."""
    return workload.role is Role.SERVE or is_scheduled(workload)


def leftovers(id_: ResourceId, seen: Seen) -> tuple[Manifest, ...]:
    """Return the objects of recorded attempts that are of no use any more.

    A child that is over stays, for its log, until the attempt after it is over too; one that is
    recorded as over and still holds pods goes at once, and so do one that has stopped for a stage
    that rests, and companions without a child.
    """
    records = seen.recorded(id_).get("attempts") or ()
    recorded = {record["number"] for record in records}
    stopped = {r["number"] for r in records if not r.get("failure")} if _rests(id_, seen) else set()
    children = [c for c in seen.own_children(id_) if not is_server(c) and c.kind != "CronJob"]
    numbers = [child.attempt for child in children]
    gone = [
        child
        for child in children
        if child.attempt in recorded
        and not child.is_deleting
        and (not _is_over(child) or child.attempt < max(numbers) or child.attempt in stopped)
    ]
    useless = [
        manifest
        for manifest in seen.companions.get(id_, ())
        if attempt_of(manifest) in recorded and attempt_of(manifest) not in numbers
    ]
    return (*(child.manifest for child in gone), *useless, *_unscheduled(id_, seen))


def _rests(id_: ResourceId, seen: Seen) -> bool:
    resource = seen.resources.get(id_)
    return isinstance(resource, TrainingStage) and resource.spec.suspend


def _unscheduled(id_: ResourceId, seen: Seen) -> list[Manifest]:
    """Return what is left of the schedule of an evaluation that has none any more."""
    resource = seen.resources.get(id_)
    if not isinstance(resource, Evaluation) or resource.spec.schedule is not None:
        return []
    schedules = [c for c in seen.own_children(id_) if c.kind == "CronJob" and not c.is_deleting]
    companions = [m for m in seen.companions.get(id_, ()) if _stamp(m)]
    return [*(schedule.manifest for schedule in schedules), *companions]


def _is_over(child: Child) -> bool:
    evidence = evidence_of(child.manifest, child.pods)
    return evidence.ended and not evidence.lingers


def _wait(
    id_: ResourceId,
    seen: Seen,
    observed: Observed,
    decision: Decision,
    stale: tuple[Manifest, ...],
) -> Actions:
    live = observed.live_attempt(id_)
    stop = live.number if live and decision.stop else None
    over = is_suspended(id_, observed) and bool(_unrecorded(id_, seen, observed))
    # What has stopped as it was asked to goes when that is on record.
    soon = 0.0 if over else decision.requeue_after
    return Actions(decision.status, delete=stale, stop=stop, requeue_after=soon)


def _unrecorded(id_: ResourceId, seen: Seen, observed: Observed) -> list[int]:
    """Return the attempts that have ended, and whose end is not on record."""
    before = [a.number for a in observed.attempts_of(id_) if not a.live]
    return [number for number in before if not _is_recorded(id_, number, seen)]


def _stop(resource: Resource, seen: Seen, observed: Observed, decision: Decision) -> Actions:
    id_ = identify(resource)
    children = [c.manifest for c in seen.own_children(id_) if not c.is_deleting]
    if resource.kind == "RewardModel":
        return Actions(decision.status, delete=(*children, *seen.companions.get(id_, ())))
    # The end is on record before the child goes: an attempt that vanished would be a failure.
    stopped = reconcile(resource, stop_recorded(observed, id_))
    live = observed.live_attempt(id_)
    if live is None or _is_recorded(id_, live.number, seen):
        return Actions(stopped.status, delete=tuple(children))
    return Actions(stopped.status, requeue_after=0.0)


def _is_recorded(id_: ResourceId, attempt: int, seen: Seen) -> bool:
    records = seen.recorded(id_).get("attempts") or ()
    return any(record["number"] == attempt for record in records)


def _start(
    resource: Resource,
    seen: Seen,
    observed: Observed,
    decision: Decision,
    build: BuildChildren,
    stale: tuple[Manifest, ...],
) -> Actions:
    id_ = identify(resource)
    if _unrecorded(id_, seen, observed):
        return Actions(decision.status, delete=stale, requeue_after=0.0)
    alive = predecessor(id_, seen)
    if alive:
        verdict = Verdict(State.BLOCKED, Reason.PREDECESSOR_LIVES, alive)
        status = with_verdict(decision.status, verdict)
        return Actions(status, delete=stale, requeue_after=2.0)
    try:
        made = tuple(
            manifest for workload in decision.apply for manifest in build(workload, seen.owner(id_))
        )
    except InvalidInput as error:
        verdict = Verdict(State.BLOCKED, Reason.PLACEMENT_REFUSED, str(error))
        return Actions(with_verdict(decision.status, verdict), delete=stale)
    return Actions(decision.status, delete=stale, create=made, requeue_after=0.0)


def predecessor(id_: ResourceId, seen: Seen) -> str:
    """Return what of an earlier attempt still lives; empty: nothing, the next one may start.

    Two attempts at once would write the same checkpoints.
    """
    for child in seen.children.get(id_, ()):
        name = child.manifest["metadata"]["name"]
        if child.is_deleting or not _is_over(child):
            return f"{child.kind} {name} of an earlier attempt is not gone yet"
        if child.holds_pods:
            return f"pods of {child.kind} {name}, an earlier attempt, have not ended yet"
    for pod in seen.strays.get(id_, ()):
        if may_run(pod):
            return f"pod {pod['metadata']['name']} of an earlier attempt has not ended yet"
    uid = seen.owner(id_).uid
    for manifest in seen.companions.get(id_, ()):
        # It goes with the resource of this name that was deleted, and its name is still taken.
        if not is_owned(manifest, uid):
            name = manifest["metadata"]["name"]
            return f"{manifest['kind']} {name} of an earlier {id_} is not gone yet"
    return ""


def _keep(
    resource: Resource, seen: Seen, observed: Observed, decision: Decision, build: BuildChildren
) -> Actions:
    """Bring a server or a schedule up to date: what was built of other orders is made anew."""
    id_ = identify(resource)
    try:
        made = [stamped(m) for w in decision.apply for m in build(w, seen.owner(id_))]
    except InvalidInput as error:
        verdict = Verdict(State.BLOCKED, Reason.PLACEMENT_REFUSED, str(error))
        return Actions(with_verdict(decision.status, verdict))
    uid = seen.owner(id_).uid
    # A schedule's own runs are its children, not ours.
    kept = [c for c in seen.children.get(id_, ()) if c.kind != "Job" or c.belongs_to(uid)]
    there = [*(c.manifest for c in kept), *seen.companions.get(id_, ())]
    stamps = {_key(m): _stamp(m) for m in there}
    wanted = {_key(m): _stamp(m) for m in made}
    outdated = tuple(m for m in there if wanted.get(_key(m)) != _stamp(m))
    missing = tuple(m for m in made if _key(m) not in stamps)
    soon = 1.0 if outdated else 0.0 if missing else None
    return Actions(decision.status, delete=outdated, create=missing, requeue_after=soon)


def stamped(manifest: Manifest) -> Manifest:
    """Return a manifest with the annotation that tells what it was made of."""
    metadata = manifest["metadata"]
    digest = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
    annotations = {**metadata.get("annotations", {}), MADE_OF: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _stamp(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(MADE_OF, ""))


def _pipeline(pipeline: TrainingPipeline, seen: Seen, decision: Decision) -> Actions:
    owner = seen.owner(identify(pipeline))
    create, replace = [], []
    for stage in expand(pipeline):
        body = stage.model_dump(mode="json", by_alias=True, exclude={"status"}, exclude_unset=True)
        body["metadata"]["namespace"] = owner.namespace
        there = seen.raw.get(identify(stage))
        if there is None:
            metadata = {**body["metadata"], "ownerReferences": [owner.reference]}
            create.append({**_typed(stage), **body, "metadata": metadata})
        elif is_owned(there, owner.uid) and _differs(stage, seen):
            replace.append({**there, "spec": body["spec"]})
    return Actions(decision.status, create=tuple(create), replace=tuple(replace))


def _typed(stage: Resource) -> Manifest:
    return {"apiVersion": stage.api_version, "kind": stage.kind}


def _differs(stage: Resource, seen: Seen) -> bool:
    there = seen.resources.get(identify(stage))
    return there is not None and there.spec != stage.spec
