"""What one look at the API server finds, sorted by whom it belongs to. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_operator.children.owner import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_ROLE,
    Manifest,
    Owner,
)
from assay_operator.decision import Role
from assay_operator.timestamps import epoch_seconds

_TERMINAL = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Child:
    """A workload's object, with its pods."""

    manifest: Manifest
    """The object as the server has it."""
    pods: tuple[Manifest, ...] = ()
    """Its pods."""

    @property
    def kind(self) -> str:
        """Kind of the object."""
        return str(self.manifest["kind"])

    @property
    def attempt(self) -> int:
        """Number of the attempt; 0 if it has none that can be read."""
        return attempt_of(self.manifest)

    @property
    def role(self) -> str:
        """What it does; see `Role`."""
        return str(self.manifest["metadata"].get("labels", {}).get(LABEL_ROLE, ""))

    @property
    def created_seconds(self) -> float:
        """When it was created, since the epoch."""
        return epoch_seconds(self.manifest["metadata"]["creationTimestamp"])

    @property
    def is_deleting(self) -> bool:
        """Whether it is on its way out."""
        return bool(self.manifest["metadata"].get("deletionTimestamp"))

    @property
    def holds_pods(self) -> bool:
        """Whether a pod of it may still run."""
        return any(may_run(pod) for pod in self.pods)

    def belongs_to(self, uid: str) -> bool:
        """Tell whether its owner is this very object, not one of the same name before."""
        return is_owned(self.manifest, uid)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one namespace."""

    namespace: str
    """Its name."""
    raw: Mapping[ResourceId, Manifest]
    """Custom resources as the server has them."""
    resources: Mapping[ResourceId, Resource]
    """Those that are valid, as typed models."""
    invalid: Mapping[ResourceId, str] = field(default_factory=dict)
    """What is wrong with the others."""
    children: Mapping[ResourceId, tuple[Child, ...]] = field(default_factory=dict)
    """Workloads by whom they work for, oldest attempt first."""
    companions: Mapping[ResourceId, tuple[Manifest, ...]] = field(default_factory=dict)
    """Services, ConfigMaps and NetworkPolicies by whom they belong to."""
    strays: Mapping[ResourceId, tuple[Manifest, ...]] = field(default_factory=dict)
    """Pods whose workload is gone already, by whom they worked for."""

    def owner(self, id_: ResourceId) -> Owner:
        """Return a resource as the owner of children."""
        return Owner(id_, self.namespace, self.raw[id_]["metadata"]["uid"])

    def own_children(self, id_: ResourceId) -> tuple[Child, ...]:
        """Return the children of this very resource, not those of one before of its name."""
        uid = self.raw[id_]["metadata"]["uid"]
        return tuple(c for c in self.children.get(id_, ()) if c.belongs_to(uid))

    def recorded(self, id_: ResourceId) -> Mapping[str, Any]:
        """Return the status that the server has."""
        return self.raw[id_].get("status") or {}


def owner_of(manifest: Manifest) -> ResourceId | None:
    """Return whom an object was made for, by its labels."""
    labels = manifest["metadata"].get("labels") or {}
    if LABEL_KIND not in labels or LABEL_NAME not in labels:
        return None
    return ResourceId(labels[LABEL_KIND], labels[LABEL_NAME])


def is_owned(manifest: Manifest, uid: str) -> bool:
    """Tell whether an object's owner is the one with this identity."""
    references = manifest["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == uid for reference in references)


def may_run(pod: Manifest) -> bool:
    """Tell whether a pod may still run something."""
    return (pod.get("status") or {}).get("phase") not in _TERMINAL


def stray_pods(workloads: Iterable[Manifest], pods: Iterable[Manifest]) -> list[Manifest]:
    """Return the pods whose workload is gone: deleting takes it at once, and them in their time."""
    there = {(owner_of(w), attempt_of(w)) for w in workloads}
    return [pod for pod in pods if (owner_of(pod), attempt_of(pod)) not in there]


def attempt_of(manifest: Manifest) -> int:
    """Return the number of the attempt that an object was made for; 0 if it tells none."""
    label = (manifest["metadata"].get("labels") or {}).get(LABEL_ATTEMPT, "")
    return int(label) if label.isdecimal() else 0


def children_by_owner(
    workloads: Iterable[Manifest], pods: Sequence[Manifest]
) -> dict[ResourceId, tuple[Child, ...]]:
    """Return the workloads of one namespace with their pods, by whom they work for."""
    pods_of: dict[tuple[ResourceId, int], list[Manifest]] = {}
    for pod in pods:
        owner = owner_of(pod)
        if owner is not None:
            pods_of.setdefault((owner, attempt_of(pod)), []).append(pod)
    found: dict[ResourceId, list[Child]] = {}
    for workload in workloads:
        owner = owner_of(workload)
        if owner is not None:
            own = tuple(pods_of.get((owner, attempt_of(workload)), ()))
            found.setdefault(owner, []).append(Child(workload, own))
    return {
        owner: tuple(sorted(children, key=lambda child: (child.attempt, child.created_seconds)))
        for owner, children in found.items()
    }


def by_owner(objects: Iterable[Manifest]) -> dict[ResourceId, tuple[Manifest, ...]]:
    """Return objects by whom they were made for."""
    found: dict[ResourceId, list[Manifest]] = {}
    for manifest in objects:
        owner = owner_of(manifest)
        if owner is not None:
            found.setdefault(owner, []).append(manifest)
    return {owner: tuple(manifests) for owner, manifests in found.items()}


def is_server(child: Child) -> bool:
    """Tell whether a child serves, instead of running to an end."""
    return child.role == Role.SERVE.value
