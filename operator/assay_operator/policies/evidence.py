"""Evidence: what a child and its pods say about how an attempt stands. Success is never among it.

Shapes and traps: training-operator 1.9 (`kubeflow.org/v1`), KubeRay 1.6 (`ray.io/v1`), `batch/v1`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay_api.errors import UNAVAILABLE_EXIT_CODE
from assay_operator.observed import FailureClass
from assay_operator.policies.attempts import SIGTERM_EXIT_CODE, classify, describe_exit

Manifest = Mapping[str, Any]

_SIGKILL_EXIT_CODE = 128 + 9
_EVICTED = {"Evicted", "Preempting", "NodeShutdown", "Terminated", "Shutdown", "NodeLost"}
"""`status.reason` of pods that their node, or the scheduler, sent away."""

_OVER_ITS_DISK = re.compile(
    r"Usage of EmptyDir volume|ephemeral local storage|ephemeral storage limit"
)
"""In a kubelet's message (1.36, eviction_manager.go) about a pod that wrote more than its limit."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How an attempt stands."""

    ended: bool
    """Whether nothing more will come of it."""
    failure: FailureClass | None = None
    """Whose fault it is; None: it lives, or ended well as far as the child knows."""
    exit_code: int | None = None
    """Exit code that explains it."""
    message: str = ""
    """What happened, as an end of `attempt 3 ...`."""
    lingers: bool = False
    """Whether the child still holds pods although it is over: it must be deleted."""


LIVES = Evidence(ended=False)


def evidence_of(child: Manifest, pods: Sequence[Manifest]) -> Evidence:
    """Return how an attempt stands.

    Args:
        child: its PyTorchJob, RayJob or Job.
        pods: the child's pods, submitters included.
    """
    if child["metadata"].get("deletionTimestamp"):
        return Evidence(
            True, FailureClass.INFRASTRUCTURE, None, "was deleted by somebody else", lingers=True
        )
    match child["kind"]:
        case "RayJob":
            return _ray_job(child, pods)
        case "PyTorchJob":
            return _pytorch_job(child, pods)
        case _:
            return _by_conditions(child, pods, "Complete")


def is_at_work(child: Manifest) -> bool:
    """Tell whether a stage's child says that its program runs."""
    if child["kind"] == "RayJob":
        return bool((child.get("status") or {}).get("jobStatus") == "RUNNING")
    return bool(_condition(child, "Running"))


def _pytorch_job(child: Manifest, pods: Sequence[Manifest]) -> Evidence:
    found = _by_conditions(child, pods, "Succeeded")
    if found.ended:
        return found
    replaced = _replaced_since(_running_since(child), pods)
    return _lost_pod(replaced) if replaced else found


def _by_conditions(child: Manifest, pods: Sequence[Manifest], success: str) -> Evidence:
    if _condition(child, success):
        return Evidence(True)
    failed = _condition(child, "Failed")
    return _failure(pods, str(failed.get("message", ""))) if failed else LIVES


def _ray_job(child: Manifest, pods: Sequence[Manifest]) -> Evidence:
    status = child.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    reason, message = status.get("reason", ""), str(status.get("message", ""))
    if deployment == "ValidationFailed":
        # It would hold its quota for ever, and mending its spec does not bring it back.
        text = f"was refused by KubeRay: {message}"
        return Evidence(True, FailureClass.INPUT, None, text, lingers=True)
    if deployment == "Complete" and job == "SUCCEEDED":
        return Evidence(True)
    if deployment == "Complete":
        return Evidence(True, FailureClass.INFRASTRUCTURE, None, f"ended as {job or 'nothing'}")
    if deployment == "Failed" and job == "FAILED":
        return _failure(_telling(pods, message, status), message)
    if deployment == "Failed":
        # The job may still be running: its cluster must go before the next attempt comes.
        text = f"was given up by KubeRay ({reason}): {message}"
        return Evidence(True, FailureClass.INFRASTRUCTURE, None, text, lingers=True)
    started = (status.get("rayJobInfo") or {}).get("startTime")
    heads = [p for p in pods if p["metadata"].get("labels", {}).get("ray.io/node-type") == "head"]
    replaced = _replaced_since(started if job == "RUNNING" else None, heads)
    return _lost_pod(replaced) if replaced else LIVES


def _telling(
    pods: Sequence[Manifest], message: str, status: Mapping[str, Any]
) -> Sequence[Manifest]:
    """Return the pods that may tell why a Ray job failed.

    A submitter ends with 1 whatever the job ended with, and once the job has ended its cluster is
    taken down, which kills what is left there.
    """
    if _root_exit_code(message) is None:
        return pods
    ended = str(status.get("endTime") or "9")
    return [
        pod
        for pod in pods
        if "ray.io/node-type" in (pod["metadata"].get("labels") or {})
        and all(str(end.get("finishedAt") or "") <= ended for end in _bad_ends(pod))
    ]


def _lost_pod(pod: Manifest) -> Evidence:
    text = f"lost a pod, which was made anew as {pod['metadata']['name']}: the others wait for it"
    return Evidence(True, FailureClass.INFRASTRUCTURE, None, text, lingers=True)


def _replaced_since(since: str | None, pods: Iterable[Manifest]) -> Manifest | None:
    """Return a pod that was created after all of them ran (RFC 3339, UTC, compares as text)."""
    if not since:
        return None
    return next((p for p in pods if p["metadata"].get("creationTimestamp", "") > since), None)


def _running_since(child: Manifest) -> str | None:
    return (_condition(child, "Running") or {}).get("lastTransitionTime")


def _condition(child: Manifest, name: str) -> Mapping[str, Any]:
    conditions = (child.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == name and c["status"] == "True"), {})


def _failure(pods: Sequence[Manifest], message: str) -> Evidence:
    """Return whose fault a failed child is: the first pod that went down tells, if one is left."""
    for pod in pods:
        full = _over_its_disk(pod)
        if full:
            return Evidence(True, FailureClass.INFRASTRUCTURE, None, full)
        disrupted = _disruption(pod)
        if disrupted:
            return Evidence(True, FailureClass.PREEMPTION, None, disrupted)
    ends = sorted(
        (end for pod in pods for end in _bad_ends(pod)), key=lambda end: str(end.get("finishedAt"))
    )
    if ends:
        first = ends[0]
        told = str(first.get("message") or "")
        exit_code = _root_exit_code(told) or int(first["exitCode"])
        oom = first.get("reason") == "OOMKilled"
        return _by_exit_code(exit_code, "ran out of memory" if oom else "", message)
    return _by_exit_code(_root_exit_code(message), "", message)


def _by_exit_code(exit_code: int | None, how: str, message: str) -> Evidence:
    if exit_code is None:
        # The first line says what happened; Ray's goes on with all that it counts.
        told = message.strip().partition("\n")[0]
        text = f"failed: {told}" if told else "failed, and no pod is left to tell why"
        return Evidence(True, FailureClass.INFRASTRUCTURE, None, text)
    killed = exit_code < 0 or exit_code in (_SIGKILL_EXIT_CODE, SIGTERM_EXIT_CODE)
    failure = FailureClass.INFRASTRUCTURE if how else classify(exit_code)
    if killed:
        how, failure = how or "was killed", FailureClass.INFRASTRUCTURE
    if exit_code == UNAVAILABLE_EXIT_CODE:
        how = describe_exit(exit_code)
    return Evidence(True, failure, exit_code, f"{how or 'ended'} (exit code {exit_code})")


def _over_its_disk(pod: Manifest) -> str:
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    message = str(status.get("message") or "").strip()
    if status.get("reason") != "Evicted" or not _OVER_ITS_DISK.search(message):
        return ""
    return f"ran out of disk: pod {name}: {message} Its pool's diskGib is too small: `assay plan`"


def _disruption(pod: Manifest) -> str:
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"was preempted: pod {name}: {condition.get('reason', '')}".rstrip(": ")
    if status.get("phase") == "Failed" and status.get("reason") in _EVICTED:
        return f"was preempted: pod {name}: {status['reason']}"
    return ""


def _bad_ends(pod: Manifest) -> list[Mapping[str, Any]]:
    status = pod.get("status") or {}
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    ends = [(c.get("state") or {}).get("terminated") for c in containers]
    return [end for end in ends if end and end.get("exitCode")]


def _root_exit_code(text: str) -> int | None:
    """Return the exit code that a launcher names: it ends with 1 whatever its worker ended with.

    torch.distributed.run writes `exitcode : -9 (pid: 7)` of the first rank that failed, and `got
    signal: 15` if it was asked to end itself; Ray `exit code 2`.
    """
    signalled = re.search(r"SignalException: Process \d+ got signal: (\d+)", text)
    if signalled:
        return -int(signalled[1])
    found = re.search(r"exit ?code\s*:?\s*(-?\d+)", text)
    return int(found[1]) if found else None
