"""Objects as an API server has them, made in a line each, and one look at them."""

from typing import Any

from assay_api import Completion
from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_api.references import identify
from assay_operator.children.owner import Manifest
from assay_operator.cluster.observe import Told
from assay_operator.cluster.seen import Seen, by_owner, children_by_owner, stray_pods
from assay_operator.observed import Finished

CREATED = "2026-05-01T10:00:00Z"
CREATED_SECONDS = 1_777_629_600.0
"""The same moment: 20574 days and 10 hours after 1970 began."""

STAGE = ResourceId("TrainingStage", "alone")
DATASET = ResourceId("Dataset", "clips")
JUDGE = ResourceId("RewardModel", "judge")

MANIFESTS = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: alone}
spec:
  model: {uri: "s3://models/base"}
  dataset: clips
  rl: {steps: 40}
  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: judge}]
---
kind: RewardModel
metadata: {name: judge}
spec: {model: {uri: "s3://models/judge"}}
"""


def times(seconds: int) -> str:
    """Return the time so many seconds after CREATED, less than an hour."""
    return f"2026-05-01T10:{seconds // 60:02d}:{seconds % 60:02d}Z"


def child(
    kind: str = "PyTorchJob",
    attempt: int = 1,
    status: Any = None,
    owner: ResourceId = STAGE,
    uid: str = "uid-alone",
    role: str = "Train",
    **metadata: Any,
) -> Manifest:
    """Return a workload's object, or a companion's."""
    labels = {
        "assay.dev/kind": owner.kind,
        "assay.dev/name": owner.name,
        "assay.dev/attempt": str(attempt),
        "assay.dev/role": role,
    }
    name = f"{owner.name}-a{attempt}"
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{kind}-{name}",
            "labels": labels,
            "creationTimestamp": CREATED,
            "ownerReferences": [{"uid": uid}],
            **metadata,
        },
        "status": status or {},
    }


def conditions(*types: str, at: str = CREATED, **more: str) -> dict[str, Any]:
    """Return a status in which these conditions hold."""
    return {
        "conditions": [
            {"type": name, "status": "True", "lastTransitionTime": at, **more} for name in types
        ]
    }


def pod(
    name: str = "p-0",
    phase: str = "Running",
    created: str = CREATED,
    attempt: int = 1,
    node_type: str = "",
    owner: ResourceId = STAGE,
    **status: Any,
) -> Manifest:
    """Return a pod of an attempt."""
    made = child("Pod", attempt, {"phase": phase, **status}, owner, creationTimestamp=created)
    made["metadata"]["name"] = name
    if node_type:
        made["metadata"]["labels"]["ray.io/node-type"] = node_type
    return made


def ended(code: int, at: str = CREATED, **more: Any) -> dict[str, Any]:
    """Return what of a pod's status says how its only container ended."""
    terminated = {"exitCode": code, "finishedAt": at, **more}
    return {"containerStatuses": [{"name": "c", "image": "i", "state": {"terminated": terminated}}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """Return what of a pod's status says what its only container waits for."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "c", "image": "trainer:1", "state": state}]}


def seen(*objects: Manifest, manifests: str = MANIFESTS, **statuses: dict[str, Any]) -> Seen:
    """Return a look at a namespace: the resources of the manifests and what was made for them.

    Args:
        objects: workloads, companions and pods.
        manifests: the resources, each with `uid-NAME`.
        statuses: by name of the resource.
    """
    raw, resources = {}, {}
    for resource in parse_manifests(manifests, "made.yaml"):
        id_ = identify(resource)
        body = resource.model_dump(mode="json", by_alias=True, exclude={"status"})
        name = id_.name
        metadata = {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "generation": 1,
        }
        raw[id_] = {**body, "metadata": metadata, "status": statuses.get(name, {})}
        resources[id_] = resource
    jobs = {"PyTorchJob", "RayJob", "Job", "CronJob", "Deployment"}
    workloads = [o for o in objects if o["kind"] in jobs]
    pods = [o for o in objects if o["kind"] == "Pod"]
    others = [o for o in objects if o["kind"] not in jobs | {"Pod"}]
    return Seen(
        namespace="team",
        raw=raw,
        resources=resources,
        children=children_by_owner(workloads, pods),
        companions=by_owner(others),
        strays=by_owner(stray_pods(workloads, pods)),
    )


def told(**more: Any) -> Told:
    """Return what a store tells."""
    return Told(url="s3://bucket/team", **more)


def record(number: int, failure: str | None = None, **more: Any) -> dict[str, Any]:
    """Return how an attempt ended, as a status keeps it."""
    return {"number": number, "failure": failure, "endedAt": CREATED, "message": "m", **more}


NOW_SECONDS = CREATED_SECONDS + 3000.0
"""When tests look."""
SUPERVISED = """
kind: TrainingStage
metadata: {name: alone}
spec: {model: {uri: m}, dataset: clips, sft: {task: Judge, steps: 4}, suspend: false}
"""
"""A stage that is to run; nothing else is in the namespace."""
RESTING = SUPERVISED.replace("false", "true")
"""The same, suspended."""
READY = told(
    finished={DATASET: Finished(Completion(spec_digest="s", digest="d", result="."), None, 0.0)}
)
"""A store that has all that it needs."""
