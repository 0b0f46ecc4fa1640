"""What pods say of themselves: why they wait, how they ended, and where their log is."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay_operator.children.owner import Manifest
from assay_operator.children.pods import COMPONENT

LAST_LINES = 5
"""Lines of a container's last words that are shown."""
_LAST_CHARACTERS = 600
_MAIN = ("submitter", "head")
"""Components of a Ray cluster whose log tells most: the one that submitted the job has it all."""
_REPLICA = "training.kubeflow.org/replica-type"


@dataclass(frozen=True, slots=True)
class PodWords:
    """A pod, for people."""

    name: str
    """Its name."""
    phase: str
    """Pending, Running, Succeeded, Failed or Unknown."""
    says: str
    """Why it does not run, or how it ended; empty: it does its work."""
    last_words: tuple[str, ...] = ()
    """The end of what its container wrote before it ended."""

    def plain(self) -> dict[str, Any]:
        """Return the pod as plain values, for JSON."""
        return {
            "name": self.name,
            "phase": self.phase,
            "says": self.says,
            "lastWords": "\n".join(self.last_words),
        }


@dataclass(frozen=True, slots=True)
class _End:
    container: str
    terminated: Mapping[str, Any]
    previous: bool

    @property
    def exit_code(self) -> int:
        return int(self.terminated.get("exitCode") or 0)


def pod_words(pod: Manifest) -> PodWords:
    """Return what a pod says."""
    says = "; ".join(dict.fromkeys([*_conditions(pod), *_containers(pod)]))
    told = [str(end.terminated["message"]) for end in _ends(pod) if end.terminated.get("message")]
    words = told[0][-_LAST_CHARACTERS:].strip().splitlines() if told else []
    phase = str((pod.get("status") or {}).get("phase") or "Unknown")
    return PodWords(pod["metadata"]["name"], phase, says, tuple(words[-LAST_LINES:]))


def look_command(namespace: str, child: Manifest | None, pods: Sequence[Manifest]) -> str:
    """Return the command that shows most: a log where there is one, else what holds a pod up.

    Args:
        namespace: of all of them.
        child: the newest one; None: there is none.
        pods: its pods.
    """
    found = _log_of(pods)
    if found:
        pod, container, previous = found
        flags = ["--previous"] if previous else []
        return shlex.join(
            ["kubectl", "logs", "--namespace", namespace, pod, "--container", container, *flags]
        )
    describe = ["kubectl", "describe", "--namespace", namespace]
    if pods:
        return shlex.join([*describe, "pod", pods[0]["metadata"]["name"]])
    if child is not None:
        return shlex.join([*describe, child["kind"].lower(), child["metadata"]["name"]])
    return ""


def is_log(command: str) -> bool:
    """Tell whether a command shows a log."""
    return command.startswith("kubectl logs ")


def _log_of(pods: Sequence[Manifest]) -> tuple[str, str, bool] | None:
    """Return pod, container and whether it was its run before: of the first that went wrong."""
    bad = [
        (str(end.terminated.get("finishedAt", "")), pod["metadata"]["name"], end)
        for pod in pods
        for end in _ends(pod)
        if end.exit_code
    ]
    if bad:
        _, name, end = min(bad, key=lambda found: found[:2])
        return name, end.container, end.previous
    for pod in sorted(pods, key=_rank):
        for status in _statuses(pod):
            if {"running", "terminated"} & set(status.get("state") or {}):
                return pod["metadata"]["name"], status["name"], False
    return None


def _rank(pod: Manifest) -> tuple[int, str]:
    """Sort those first whose log tells most."""
    labels = pod["metadata"].get("labels") or {}
    component = labels.get(COMPONENT, "")
    if component in _MAIN:
        return _MAIN.index(component), ""
    leads = labels.get(_REPLICA) == "master"
    return len(_MAIN) + (not leads), pod["metadata"]["name"]


def _conditions(pod: Manifest) -> Iterator[str]:
    if pod["metadata"].get("deletionTimestamp"):
        yield "is being deleted"
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        why = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"has no node: {why}"
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            yield f"was sent away: {why}"
    if status.get("phase") == "Failed" and status.get("reason"):
        yield str(status["reason"])


def _containers(pod: Manifest) -> Iterator[str]:
    for status in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            why = f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
            yield f"{status['name']} waits: {why}"
    for end in _ends(pod):
        if end.exit_code:
            reason = f" ({end.terminated['reason']})" if end.terminated.get("reason") else ""
            yield f"{end.container} ended with exit code {end.exit_code}{reason}"


def _statuses(pod: Manifest) -> list[Mapping[str, Any]]:
    """Return the containers' statuses, the main ones before those that only prepare."""
    status = pod.get("status") or {}
    main = list(status.get("containerStatuses") or [])
    return [*main, *(status.get("initContainerStatuses") or [])]


def _ends(pod: Manifest) -> list["_End"]:
    """Return how containers ended, now or before they were started anew."""
    found = []
    for status in _statuses(pod):
        now = (status.get("state") or {}).get("terminated")
        before = (status.get("lastState") or {}).get("terminated")
        end = now or before
        if end:
            found.append(_End(str(status["name"]), end, previous=not now))
    return found
