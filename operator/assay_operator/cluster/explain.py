"""Why a resource on a cluster is in its state, what it waits for, what to do. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assay_api.layout import ResourceId
from assay_operator.advice import ADVICE
from assay_operator.children.owner import Manifest
from assay_operator.cluster.facts import Facts, event_time
from assay_operator.cluster.pod_words import PodWords, look_command, pod_words
from assay_operator.conditions import Reason, State, state_of

NEWEST_EVENTS = 8
"""Events that are shown."""
_THERE = (State.SUCCEEDED, State.READY)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a resource stands, as its own status says."""

    resource: ResourceId
    """Which one."""
    state: str
    """In one word; Missing: there is no such resource; New: nobody has looked at it yet."""
    reason: str
    """Why, as one word; empty where there is no status."""
    why: str
    """Why, for people."""
    since: str
    """Since when, RFC 3339; empty: not known."""

    @property
    def title(self) -> str:
        """What stands in one line."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.resource}: {self.state}{reason}"


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event of a child or of its pods."""

    at: str
    """When it was last told, RFC 3339."""
    type: str
    """Normal or Warning."""
    reason: str
    """In one word."""
    about: str
    """Kind and name of what it is about."""
    message: str
    """For people."""


@dataclass(frozen=True, slots=True)
class ClusterExplanation:
    """A resource's state in words."""

    standing: Standing
    """Where it stands."""
    namespace: str
    """Where it is."""
    advice: str
    """What to do."""
    notes: tuple[str, ...]
    """What else must be known to read this right."""
    progress: Mapping[str, Any]
    """Fields of the status that say how far it is."""
    others: tuple[Standing, ...]
    """What it refers to; of a pipeline: its stages."""
    child: str
    """Kind and name of the newest child; empty: there is none."""
    pods: tuple[PodWords, ...]
    """The child's pods, those that are held up or ended first."""
    events: tuple[ToldEvent, ...]
    """The newest ones, oldest first."""
    look: str
    """The command that shows more; empty: there is nothing to look at."""
    attempts: tuple[Mapping[str, Any], ...]
    """Ended attempts, as the status records them."""

    @property
    def waits_for(self) -> tuple[Standing, ...]:
        """What is not there yet of what it refers to."""
        if self.standing.state in _THERE:
            return ()
        return tuple(other for other in self.others if other.state not in _THERE)

    def plain(self) -> dict[str, Any]:
        """Return the explanation as plain values, for JSON."""
        return {
            **_plain(self.standing),
            "namespace": self.namespace,
            "advice": self.advice,
            "notes": list(self.notes),
            "progress": dict(self.progress),
            "waitsFor": [_plain(other) for other in self.waits_for],
            "refersTo": [_plain(other) for other in self.others],
            "child": self.child or None,
            "pods": [pod.plain() for pod in self.pods],
            "events": [asdict(event) for event in self.events],
            "command": self.look or None,
            "attempts": [dict(attempt) for attempt in self.attempts],
        }


def _plain(standing: Standing) -> dict[str, Any]:
    return {
        "kind": standing.resource.kind,
        "name": standing.resource.name,
        "state": standing.state,
        "reason": standing.reason or None,
        "message": standing.why,
        "since": standing.since or None,
    }


def explain(facts: Facts) -> ClusterExplanation:
    """Return why a resource is in its state, what it waits for, and what to do."""
    status: Manifest = facts.raw.get("status") or {}
    standing = standing_of(facts.id, facts.raw)
    others = tuple(standing_of(id_, raw) for id_, raw in facts.others.items())
    child = facts.child
    pods = sorted(child.pods, key=_trouble_first) if child else []
    look = look_command(facts.namespace, child.manifest if child else None, pods)
    return ClusterExplanation(
        standing=standing,
        namespace=facts.namespace,
        advice=_advice(facts, standing, others, look),
        notes=tuple(_notes(facts)),
        progress={name: status[name] for name in _PROGRESS if status.get(name) is not None},
        others=others,
        child=f"{child.kind}/{child.manifest['metadata']['name']}" if child else "",
        pods=tuple(pod_words(pod) for pod in pods),
        events=tuple(_event(event) for event in facts.events[-NEWEST_EVENTS:]),
        look=look,
        attempts=tuple(status.get("attempts") or ()),
    )


_PROGRESS = (
    *("attempt", "step", "totalSteps", "checkpoint", "modelUri", "modelDigest"),
    *("digest", "numRows", "numDropped", "accuracy", "evaluatedAt", "result", "url"),
)


def standing_of(id_: ResourceId, raw: Manifest | None) -> Standing:
    """Return where a resource stands; its status may be of another version of the operator."""
    if raw is None:
        return Standing(id_, "Missing", "", "there is no such resource", "")
    found = {c["type"]: c for c in (raw.get("status") or {}).get("conditions") or ()}
    ready = found.get("Ready")
    if ready is None:
        return Standing(id_, "New", "", "the operator has not looked at it yet", "")
    holds = {name for name, condition in found.items() if condition["status"] == "True"}
    state, reason = state_of(holds, ready["reason"]), str(ready["reason"])
    since = found.get(state, ready).get("lastTransitionTime") or ""
    return Standing(id_, str(state), reason, str(ready.get("message") or ""), str(since))


def _advice(facts: Facts, standing: Standing, others: tuple[Standing, ...], look: str) -> str:
    if not standing.reason:
        return (
            "see that the operator runs and looks at this namespace: `kubectl get deployments "
            "--all-namespaces --selector app.kubernetes.io/name=assay-operator`"
        )
    if standing.reason not in set(Reason):
        return f"as it says; this version of assay does not know the reason {standing.reason}"
    waits_for = [other for other in others if other.state not in _THERE]
    missing = next((other.resource for other in waits_for if other.state == "Missing"), None)
    reason = Reason(standing.reason)
    if missing and reason in _WAITING:
        return f"apply the manifest of {missing}: there is no such resource in this namespace"
    first = waits_for[0].resource if waits_for else facts.id
    if look:
        fallback = look
    else:
        plural = facts.id.kind.lower()
        fallback = f"kubectl describe --namespace {facts.namespace} {plural} {facts.id.name}"
    return ADVICE[reason].cluster.format(
        look=fallback,
        first=first,
        kind=facts.id.kind.lower(),
        name=facts.id.name,
        namespace=facts.namespace,
    )


_WAITING = {
    Reason.WAITING_FOR_STAGE,
    Reason.WAITING_FOR_DATASET,
    Reason.WAITING_FOR_REWARD_MODEL,
    Reason.GATE_NOT_PASSED,
}


def _notes(facts: Facts) -> list[str]:
    metadata, notes = facts.raw["metadata"], []
    if metadata.get("deletionTimestamp"):
        left = ", ".join(metadata.get("finalizers") or ()) or "none"
        notes.append(
            f"it is being deleted since {metadata['deletionTimestamp']}; finalizers: {left}"
        )
    status = facts.raw.get("status") or {}
    generation, seen = metadata.get("generation"), status.get("observedGeneration")
    if generation and seen and seen < generation:
        notes.append(
            f"its spec was changed (generation {generation}), and this status is of generation "
            f"{seen}: if that stays so, the operator does not run"
        )
    if facts.invalid:
        notes.append(f"its spec is wrong: {facts.invalid}")
    for schedule in (c.manifest for c in facts.children if c.kind == "CronJob"):
        fired = (schedule.get("status") or {}).get("lastScheduleTime")
        said = f"last fired at {fired}" if fired else "has not fired yet"
        notes.append(f"its schedule {said}")
    notes += [_room(node) for node in facts.nodes[:_MOST_NODES]]
    if len(facts.nodes) > _MOST_NODES:
        notes.append(f"and {len(facts.nodes) - _MOST_NODES} more nodes: `kubectl describe nodes`")
    notes += [f"not looked at: {hidden}" for hidden in facts.hidden]
    return notes


_MOST_NODES = 8


def _room(node: Manifest) -> str:
    """Return what a node has for pods, those that are on it already included."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    kept = {n: a for n, a in allocatable.items() if n in ("cpu", "memory") or "/" in n}
    room = ", ".join(f"{name} {amount}" for name, amount in kept.items())
    return f"node {node['metadata']['name']} has {room} for all its pods together"


def _trouble_first(pod: Manifest) -> tuple[int, str]:
    phase = (pod.get("status") or {}).get("phase")
    order = {"Failed": 0, "Unknown": 1, "Pending": 2, "Running": 3, "Succeeded": 4}
    held = bool(pod_words(pod).says)
    return (order.get(str(phase), 1) if held else 5, pod["metadata"]["name"])


def _event(event: Manifest) -> ToldEvent:
    of = event["involvedObject"]
    return ToldEvent(
        at=event_time(event),
        type=str(event.get("type") or "Normal"),
        reason=str(event.get("reason") or ""),
        about=f"{of.get('kind', '')}/{of.get('name', '')}",
        message=" ".join(str(event.get("message") or "").split()),
    )
