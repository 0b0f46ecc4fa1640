"""Who a child belongs to, how it is called, and what is written on it."""

from dataclasses import dataclass
from typing import Any

from assay_api.base import API_VERSION
from assay_api.layout import ResourceId
from assay_operator.decision import Role, Workload

Manifest = dict[str, Any]
"""A Kubernetes object as plain values."""

LABEL_KIND = "assay.dev/kind"
LABEL_NAME = "assay.dev/name"
LABEL_ATTEMPT = "assay.dev/attempt"
LABEL_ROLE = "assay.dev/role"
MANAGED_BY = {"app.kubernetes.io/part-of": "assay", "app.kubernetes.io/managed-by": "assay"}
CHILD_SELECTOR = "app.kubernetes.io/managed-by=assay"
"""Selects everything that the operator made."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A custom resource on a cluster."""

    id: ResourceId
    """Kind and name."""
    namespace: str
    """Where it and its children live."""
    uid: str
    """The server's identity of this very object, not of one with the same name later."""

    @property
    def reference(self) -> Manifest:
        """The ownerReference of its children: with it they go."""
        return {
            "apiVersion": API_VERSION,
            "kind": self.id.kind,
            "name": self.id.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def child_name(workload: Workload) -> str:
    """Return the name of a workload's job: no two attempts ever have the same.

    A stage's is `NAME-aN`, at most 46 of the 47 characters that KubeRay allows; other kinds put
    theirs before it, because Jobs of a dataset and an evaluation could meet.
    """
    prefix = {Role.DATASET: "dataset-", Role.EVALUATE: "evaluation-", Role.SERVE: "judge-"}
    return f"{prefix.get(workload.role, '')}{workload.owner.name}-a{workload.attempt}"


def labels(workload: Workload) -> dict[str, str]:
    """Return the labels of everything that is made for a workload, pods included."""
    return {
        **MANAGED_BY,
        LABEL_KIND: workload.owner.kind,
        LABEL_NAME: workload.owner.name,
        LABEL_ATTEMPT: str(workload.attempt),
        LABEL_ROLE: workload.role.value,
    }


def metadata(workload: Workload, owner: Owner, name: str) -> Manifest:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(workload),
        "ownerReferences": [owner.reference],
    }
