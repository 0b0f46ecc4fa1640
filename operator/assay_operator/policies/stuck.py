"""Stuck: why a workload that was started does not run, told by its pods."""

from collections.abc import Mapping, Sequence
from typing import Any

from assay_operator.conditions import Reason, State, Verdict
from assay_operator.timestamps import epoch_seconds

Manifest = Mapping[str, Any]

NO_PODS_SECONDS = 30.0
"""A child without pods after this long is not being served."""
NO_VOLUMES_SECONDS = 60.0
"""A pod that cannot begin to start, so long after its node took it."""
NO_PROGRESS_SECONDS = 1800.0
"""A running stage whose step stands for this long may hang."""
_WAITING = {
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "ErrImagePull": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG,
    "CreateContainerError": Reason.CONTAINER_CONFIG,
    "RunContainerError": Reason.CONTAINER_CONFIG,
    "CrashLoopBackOff": Reason.CRASH_LOOP,
}
_MESSAGE_CHARACTERS = 600


def stuck_because(
    child: Mapping[str, Any], pods: Sequence[Manifest], now_seconds: float
) -> Verdict | None:
    """Return why a live child's pods don't run; None when nothing holds them up.

    Args:
        child: the workload's object.
        pods: its pods.
        now_seconds: since the epoch.
    """
    if _is_queued(child):
        return _blocked(Reason.QUEUED, "waits to be admitted by its queue")
    for pod in pods:
        held = _held_up(pod) or _without_volumes(pod, now_seconds)
        if held:
            return held
    refused = _refused_pods(child)
    if refused:
        return refused
    age_seconds = now_seconds - epoch_seconds(child["metadata"]["creationTimestamp"])
    if not pods and age_seconds > NO_PODS_SECONDS:
        kind, name = child["kind"], child["metadata"]["name"]
        return _blocked(
            Reason.NO_PODS,
            f"{kind} {name} has no pods after {age_seconds:.0f} s: is the operator of {kind}s "
            f"running, is there quota left? `kubectl describe {kind.lower()} {name}` tells",
        )
    return None


def no_progress(step: int, still_seconds: float) -> Verdict | None:
    """Return that a stage may hang, if its step has stood for too long."""
    if still_seconds < NO_PROGRESS_SECONDS:
        return None
    text = f"no step after step {step} for {still_seconds / 60:.0f} minutes: look at its log"
    return _blocked(Reason.NO_PROGRESS, text)


def _is_queued(child: Mapping[str, Any]) -> bool:
    spec = child.get("spec") or {}
    suspended = spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend")
    return child["kind"] != "CronJob" and bool(suspended)


def _refused_pods(child: Mapping[str, Any]) -> Verdict | None:
    """Return why no pods can be made, where the child tells: Deployment and RayCluster do."""
    status = child.get("status") or {}
    cluster = status.get("rayClusterStatus") or {}
    for condition in [*(status.get("conditions") or []), *(cluster.get("conditions") or [])]:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = str(condition.get("message", ""))
            exceeded = "exceeded quota" in message
            return _blocked(Reason.QUOTA_EXCEEDED if exceeded else Reason.NO_PODS, message)
    return None


def _held_up(pod: Manifest) -> Verdict | None:
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            gated = condition.get("reason") == "SchedulingGated"
            reason = Reason.QUEUED if gated else Reason.UNSCHEDULABLE
            return _blocked(reason, f"pod {name}{_asks_for(pod)}: {condition.get('message', '')}")
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason_found = _WAITING.get(waiting.get("reason", ""))
        if reason_found:
            text = waiting.get("message") or waiting["reason"]
            return _blocked(reason_found, f"pod {name}, image {container.get('image')}: {text}")
    return None


def _asks_for(pod: Manifest) -> str:
    """Return what a pod's containers ask a node for; the scheduler says only what there is not."""
    containers = (pod.get("spec") or {}).get("containers") or []
    requests = [(c.get("resources") or {}).get("requests") or {} for c in containers]
    asked = [f"{name} {amount}" for found in requests for name, amount in found.items()]
    return f" asks for {', '.join(asked)}" if asked else ""


def _without_volumes(pod: Manifest, now_seconds: float) -> Verdict | None:
    """Return that a pod waits for what it mounts: only an event says so, which nobody may list."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    states = {c["type"]: c["status"] for c in status.get("conditions") or []}
    started_at = status.get("startTime")
    if status.get("phase") != "Pending" or not started_at:
        return None
    if states.get("PodReadyToStartContainers") != "False":
        return None
    if now_seconds - epoch_seconds(started_at) <= NO_VOLUMES_SECONDS:
        return None
    volumes = (pod.get("spec") or {}).get("volumes") or []
    wanted = [f"Secret {v['secret']['secretName']}" for v in volumes if "secret" in v]
    wanted += [f"ConfigMap {v['configMap']['name']}" for v in volumes if "configMap" in v]
    return _blocked(
        Reason.CONTAINER_CONFIG,
        f"pod {name} waits for its volumes or its network: in this namespace it needs "
        f"{', '.join(wanted) or 'nothing'}; `kubectl describe pod {name}` tells",
    )


def _blocked(reason: Reason, message: str) -> Verdict:
    return Verdict(State.BLOCKED, reason, message[:_MESSAGE_CHARACTERS])
