"""What a pod on a fake node does: its status as a function of time; no server is asked."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """It runs until somebody deletes it."""

    ready: bool = True
    """Whether its readiness probes say yes."""
    lingers_seconds: float = 0.0
    """How long it takes to go once it is deleted."""


@dataclass(frozen=True, slots=True)
class Ends:
    """It runs, and then ends."""

    exit_code: int = 0
    after_seconds: float = 0.0
    reason: str = ""
    """Of the containers; Completed or Error if not given."""
    message: str = ""
    """What the containers leave as their last words."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Its containers never start."""

    reason: str = "ImagePullBackOff"
    message: str = 'Back-off pulling image "registry.invalid/none:1"'


@dataclass(frozen=True, slots=True)
class CrashLoops:
    """Its containers fail again and again."""

    exit_code: int = 1
    restarts: int = 5


@dataclass(frozen=True, slots=True)
class Evicted:
    """It runs, and is then taken away: preempted, drained, out of memory on the node."""

    reason: str = "PreemptionByScheduler"
    """Of the condition DisruptionTarget."""
    message: str = "the node was needed for something else"


OOM_KILLED = Ends(exit_code=137, reason="OOMKilled")
Behaviour = Runs | Ends | Waits | CrashLoops | Evicted


def next_status(pod: Object, behaviour: Behaviour, address: str, now: float) -> Object | None:
    """Return the status that a bound pod has next.

    Args:
        pod: as the API server has it.
        behaviour: what it does.
        address: the pod's own, once it runs.
        now: seconds since 1970.

    Returns:
        A patch of the status, or none if nothing changes.
    """
    status = pod["status"]
    phase = status.get("phase", "Pending")
    if phase in ("Succeeded", "Failed"):
        return None
    if isinstance(behaviour, Waits):
        wanted = _waiting(pod, behaviour.reason, behaviour.message)
    elif isinstance(behaviour, CrashLoops):
        wanted = _crashing(pod, behaviour, address)
    elif phase != "Running" or isinstance(behaviour, Runs):
        is_ready = behaviour.ready if isinstance(behaviour, Runs) else True
        wanted = _running(pod, is_ready, address)
    elif isinstance(behaviour, Evicted):
        wanted = _evicted(pod, behaviour)
    elif now - _since(status) < behaviour.after_seconds:
        return None
    else:
        wanted = _ended(pod, behaviour)
    return None if _tells(status, wanted) else {"startTime": _start(status, now), **wanted}


def _running(pod: Object, is_ready: bool, address: str) -> Object:
    containers = _containers(pod, lambda old: {"running": old or {"startedAt": _clock()}}, is_ready)
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "192.0.2.10",
        "conditions": _conditions(pod, is_ready),
        "containerStatuses": containers,
        "initContainerStatuses": _initialised(pod),
    }


def _waiting(pod: Object, reason: str, message: str) -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "conditions": _conditions(pod, False),
        "containerStatuses": _containers(pod, lambda _: state, False),
    }


def _crashing(pod: Object, behaviour: CrashLoops, address: str) -> Object:
    exit_code = behaviour.exit_code
    state = {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 5m0s restarting failed container",
        }
    }
    containers = _containers(pod, lambda _: state, False)
    last = {"terminated": {"exitCode": exit_code, "reason": "Error"}}
    for container in containers:
        container |= {"restartCount": behaviour.restarts, "lastState": last}
    return {**_running(pod, False, address), "containerStatuses": containers}


def _ended(pod: Object, behaviour: Ends) -> Object:
    reason = behaviour.reason or ("Error" if behaviour.exit_code else "Completed")
    finished = {"exitCode": behaviour.exit_code, "reason": reason}
    finished |= {"startedAt": pod["status"]["startTime"], "finishedAt": _clock()}
    if behaviour.message:
        finished["message"] = behaviour.message
    return {
        "phase": "Failed" if behaviour.exit_code else "Succeeded",
        "conditions": _conditions(
            pod, False, "PodFailed" if behaviour.exit_code else "PodCompleted"
        ),
        "containerStatuses": _containers(pod, lambda _: {"terminated": finished}, False),
    }


def _evicted(pod: Object, behaviour: Evicted) -> Object:
    disrupted = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": _clock()}
    disrupted |= {"reason": behaviour.reason, "message": behaviour.message}
    ended = _ended(pod, Ends(exit_code=137))
    return {
        **ended,
        "reason": "Evicted",
        "message": behaviour.message,
        "conditions": [*ended["conditions"], disrupted],
    }


def _containers(pod: Object, state: Any, is_ready: bool) -> list[Object]:
    old = {c["name"]: c["state"] for c in pod["status"].get("containerStatuses", ())}
    statuses = []
    for container in pod["spec"]["containers"]:
        name = container["name"]
        statuses.append(
            {
                "name": name,
                "image": container["image"],
                "imageID": "",
                "ready": is_ready,
                "started": is_ready,
                "restartCount": 0,
                "state": state(old.get(name, {}).get("running")),
            }
        )
    return statuses


def _initialised(pod: Object) -> list[Object]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
        }
        for container in pod["spec"].get("initContainers", ())
    ]


def _conditions(pod: Object, is_ready: bool, reason: str = "") -> list[Object]:
    ready = "True" if is_ready else "False"
    old = {c["type"]: c for c in pod["status"].get("conditions", ())}
    conditions = []
    for kind, status in (("Initialized", "True"), ("ContainersReady", ready), ("Ready", ready)):
        known = old.get(kind, {})
        is_same = known.get("status") == status
        changed = known.get("lastTransitionTime") if is_same else _clock()
        told = {"type": kind, "status": status, "lastTransitionTime": changed}
        conditions.append({**told, "reason": reason} if reason else told)
    return conditions


def _tells(status: Object, wanted: Object) -> bool:
    """Say whether a status says already what is wanted: phase, readiness, containers' states."""

    def told(of: Object) -> Any:
        conditions = {c["type"]: c["status"] for c in of.get("conditions", ())}
        states = [list(c["state"]) for c in of.get("containerStatuses", ())]
        return of.get("phase"), conditions.get("Ready"), states

    return bool(told(status) == told(wanted))


def _start(status: Object, now: float) -> str:
    return str(status.get("startTime") or _clock(now))


def _since(status: Object) -> float:
    return datetime.fromisoformat(status["startTime"]).timestamp()


def _clock(now: float | None = None) -> str:
    moment = datetime.now(UTC) if now is None else datetime.fromtimestamp(now, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
