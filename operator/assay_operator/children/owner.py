"""Who a child belongs to, how it is called, and what is written on it."""

from dataclasses import dataclass
from typing import Any

from assay_api.base import API_VERSION
from assay_api.layout import ResourceId
from assay_api.resolved import ResolvedEvaluationJob
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
JUDGE_PORT = 8000
"""Port of a reward model's server, its metrics included."""
RAY_METRICS_PORT = 8080
"""Port of Ray's own metrics in each of its pods, as KubeRay has it."""


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
    """Return the name of what runs a workload; no two attempts of a job ever have the same.

    A stage's is `NAME-aN`, at most 46 of the 47 characters that KubeRay allows; other kinds put
    theirs before it, because Jobs of a dataset and an evaluation could meet. Servers and schedules
    stay: theirs has no attempt.
    """
    name, attempt = workload.owner.name, f"-a{workload.attempt}"
    match workload.role:
        case Role.TRAIN | Role.COLLECT:
            return f"{name}{attempt}"
        case Role.DATASET:
            return f"dataset-{name}{attempt}"
        case Role.EVALUATE:
            return f"evaluation-{name}" + ("" if is_scheduled(workload) else attempt)
        case Role.SERVE:
            return judge_name(name)


def judge_name(reward_model: str) -> str:
    """Return the name of a reward model's Deployment and Service."""
    return f"judge-{reward_model}"


def judge_url(reward_model: str, namespace: str) -> str:
    """Return where a reward model's Service answers, up to and including /v1."""
    return f"http://{judge_name(reward_model)}.{namespace}.svc:{JUDGE_PORT}/v1"


def is_scheduled(workload: Workload) -> bool:
    """Tell whether the workload is run again and again, by a schedule."""
    orders = workload.orders
    return isinstance(orders, ResolvedEvaluationJob) and orders.evaluation.spec.schedule is not None


def selector(owner: ResourceId) -> dict[str, str]:
    """Return the labels by which all pods of a resource are found, whichever the attempt."""
    return {LABEL_KIND: owner.kind, LABEL_NAME: owner.name}


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
