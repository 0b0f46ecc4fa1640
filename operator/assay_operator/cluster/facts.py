"""What a cluster has about one resource, read with the rights of whoever asks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from assay_api import TrainingPipeline
from assay_api.crd.definitions import GROUP, NAMINGS
from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId
from assay_api.problems import did_you_mean
from assay_api.references import references_of, stage_ids
from assay_operator.children.owner import CHILD_SELECTOR, LABEL_KIND, LABEL_NAME, Manifest
from assay_operator.cluster.api import ApiError, Forbidden, Gone
from assay_operator.cluster.kinds import EVENT, NODE, POD, RESOURCES, WORKLOADS, Kind
from assay_operator.cluster.look import Parser
from assay_operator.cluster.seen import Child, children_by_owner
from assay_operator.conditions import Reason

_KINDS = {kind.kind: kind for kind in RESOURCES}
_BETWEEN = ("RayCluster", "Job", "ReplicaSet")
"""Kinds that stand between a child and its pods; their names are, or begin with, the child's."""


class Reader(Protocol):
    """What is asked of an API server."""

    def items(
        self, kind: Kind, namespace: str | None = None, selector: str = ""
    ) -> Iterator[Manifest]:
        """Yield all objects of a kind; none if there is no such kind."""
        ...

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        """Return an object; raise Gone if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known about one resource."""

    id: ResourceId
    """Kind and name."""
    namespace: str
    """Where it is."""
    raw: Manifest
    """The resource as the server has it."""
    invalid: str
    """What is wrong with its spec; empty: nothing."""
    others: Mapping[ResourceId, Manifest | None]
    """What it refers to, or consists of; None: not there."""
    children: tuple[Child, ...]
    """Its children with their pods, oldest attempt first."""
    events: tuple[Manifest, ...]
    """Of the newest child and its pods, oldest first."""
    hidden: tuple[str, ...]
    """What we have no right to look at."""
    nodes: tuple[Manifest, ...] = ()
    """The cluster's nodes, where it waits for room on one."""

    @property
    def child(self) -> Child | None:
        """The newest child."""
        return self.children[-1] if self.children else None


def parse_name(text: str) -> ResourceId:
    """Return the resource that `KIND/NAME` means.

    Args:
        text: with the kind as kubectl takes it: `tstage/a`, `trainingstages/a`, `TrainingStage/a`,
            `trainingstage.assay.dev/a`.

    Raises:
        InvalidInput: it is no such text, or no kind of Assay.

    Example:
        >>> parse_name("tstage/foundation")
        ResourceId(kind='TrainingStage', name='foundation')
    """
    word, slash, name = text.partition("/")
    known = {
        spelled: kind
        for kind, naming in NAMINGS.items()
        for spelled in (kind.lower(), naming.plural, naming.short)
    }
    kind = known.get(word.lower().removesuffix(f".{GROUP}"))
    if kind is None or not slash or not name or "/" in name:
        allowed = ", ".join(f"{kind} ({naming.short})" for kind, naming in NAMINGS.items())
        hint = did_you_mean(word, known) if slash and kind is None else ""
        raise InvalidInput(
            f"KIND/NAME: got {text!r}, for example tstage/foundation; kinds: {allowed}{hint}"
        )
    return ResourceId(kind, name)


def gather(api: Reader, namespace: str, id_: ResourceId) -> Facts:
    """Return what the cluster has about a resource.

    Raises:
        InvalidInput: there is no such resource.
        ApiError: the server does not answer, or does not let us see the resource.
    """
    raw = _resource(api, namespace, id_)
    hidden: dict[str, None] = {}
    parsed = Parser().parse(raw)
    wanted: list[ResourceId] = []
    if not isinstance(parsed, str):
        stages = stage_ids(parsed)[1:]
        references = [reference.target for reference in references_of(parsed)]
        wanted = stages if isinstance(parsed, TrainingPipeline) else references

    def seen(kind: Kind, selector: str = "") -> list[Manifest]:
        return _if_allowed(hidden, lambda: list(api.items(kind, namespace, selector)))

    selector = f"{CHILD_SELECTOR},{LABEL_KIND}={id_.kind},{LABEL_NAME}={id_.name}"
    workloads = [found for kind in WORKLOADS for found in seen(kind, selector)]
    children = children_by_owner(workloads, seen(POD, selector)).get(id_, ())
    # A schedule before its runs: the newest child is what ran last.
    children = tuple(sorted(children, key=lambda child: child.kind != "CronJob"))
    children = tuple(_with_own_pods(c) for c in children if _is_of(c, raw))
    return Facts(
        id=id_,
        namespace=namespace,
        raw=raw,
        invalid=parsed if isinstance(parsed, str) else "",
        others={
            other: _other(api, namespace, other, hidden)
            for other in dict.fromkeys(wanted)
            if other != id_
        },
        children=children,
        events=_events_of(children[-1], seen(EVENT)) if children else (),
        nodes=_nodes(api, raw, hidden),
        hidden=tuple(hidden),
    )


def _nodes(api: Reader, raw: Manifest, hidden: dict[str, None]) -> tuple[Manifest, ...]:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    if not any(c["reason"] == Reason.UNSCHEDULABLE for c in conditions):
        return ()
    return tuple(_if_allowed(hidden, lambda: list(api.items(NODE))))


def _resource(api: Reader, namespace: str, id_: ResourceId) -> Manifest:
    kind = _KINDS[id_.kind]
    try:
        return api.get(kind, namespace, id_.name)
    except Gone as error:
        if "could not find the requested resource" in str(error):
            raise InvalidInput(
                f"the cluster does not know {id_.kind}s: Assay is not installed there; "
                "`kubectl apply --server-side -k manifests/install`, or `helm install`"
            ) from None
        raise InvalidInput(_no_such(api, namespace, id_)) from None
    except Forbidden as error:
        raise Forbidden(
            f"no right to look at {id_} in namespace {namespace}: {error}; ask whoever manages the "
            f"cluster for it, `kubectl auth can-i get {kind.plural}.{GROUP} -n {namespace}` tells "
            "when you have it"
        ) from None
    except ApiError as error:
        raise ApiError(
            f"the API server does not answer: {error}; `kubectl get {kind.plural} -n {namespace}` "
            "tells whether KUBECONFIG leads to it, and whether it knows you"
        ) from None


def _no_such(api: Reader, namespace: str, id_: ResourceId) -> str:
    kind, unseen = _KINDS[id_.kind], dict[str, None]()
    here = _if_allowed(unseen, lambda: list(api.items(kind, namespace)))
    names = sorted(found["metadata"]["name"] for found in here)
    everywhere = _if_allowed(unseen, lambda: list(api.items(kind)))
    elsewhere = sorted(
        found["metadata"]["namespace"]
        for found in everywhere
        if found["metadata"]["name"] == id_.name
    )
    text = f"no {id_.kind} named {id_.name!r} in namespace {namespace}; "
    text += f"there are: {', '.join(names)}" if names else "there is none at all"
    if elsewhere:
        return f"{text}; one is in namespace {elsewhere[0]}: give --namespace {elsewhere[0]}"
    return text + did_you_mean(id_.name, names)


def _other(
    api: Reader, namespace: str, id_: ResourceId, hidden: dict[str, None]
) -> Manifest | None:
    found: list[Manifest] = []

    def ask() -> list[Manifest]:
        try:
            return [api.get(_KINDS[id_.kind], namespace, id_.name)]
        except Gone:
            return []

    found = _if_allowed(hidden, ask)
    return found[0] if found else None


def _if_allowed(hidden: dict[str, None], ask: Callable[[], list[Manifest]]) -> list[Manifest]:
    """Return what is asked for; what we have no right to is noted instead."""
    try:
        return ask()
    except Forbidden as error:
        hidden[str(error)] = None
        return []


def _is_of(child: Child, raw: Manifest) -> bool:
    """Tell whether a child is this resource's, or a run of its schedule; not of one before it."""
    owners = child.manifest["metadata"].get("ownerReferences") or []
    return child.belongs_to(raw["metadata"]["uid"]) or any(o["kind"] == "CronJob" for o in owners)


def _with_own_pods(child: Child) -> Child:
    """Return a child without pods of others of its labels: a schedule has many runs."""
    if child.kind not in ("Job", "PyTorchJob"):
        return child
    uid = child.manifest["metadata"]["uid"]
    own = [
        pod
        for pod in child.pods
        if any(o["uid"] == uid for o in pod["metadata"].get("ownerReferences") or [])
    ]
    return Child(child.manifest, tuple(own))


def _events_of(child: Child, events: list[Manifest]) -> tuple[Manifest, ...]:
    name = child.manifest["metadata"]["name"]
    uids = {m["metadata"]["uid"] for m in (child.manifest, *child.pods)}

    def tells(event: Manifest) -> bool:
        of = event["involvedObject"]
        between = of.get("kind") in _BETWEEN and f"{of.get('name', '')}-".startswith(f"{name}-")
        return of.get("uid") in uids or between

    return tuple(sorted((e for e in events if tells(e)), key=event_time))


def event_time(event: Manifest) -> str:
    """Return when an event was last told, RFC 3339: who tells it chooses the field."""
    series = event.get("series") or {}
    times = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return next((str(t) for t in times if t), str(event["metadata"].get("creationTimestamp", "")))
