"""Many small stages, and whatever may go wrong with them; each must end where it should.

A stage has its course: the faults that meet it, one per attempt, and the end that it must come to.
Between them the operator is killed and the API server is restarted.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from cluster_api import STRATEGIC, ApiError
from control_plane import ControlPlane
from operator_process import OperatorProcess
from overseer import Overseer
from played_workloads import Player
from pod_behaviours import OOM_KILLED, Behaviour, Ends, Evicted, next_status

Object = dict[str, Any]

ENDS: Mapping[str, Behaviour] = {
    "exit code 1": Ends(exit_code=1),
    "exit code 137": Ends(exit_code=137),
    "out of memory": OOM_KILLED,
    "evicted": Evicted(),
}
FORGED: Mapping[str, Object] = {
    "status emptied": {name: None for name in ("attempt", "attempts", "failures", "conditions")},
    "status of a stage that succeeded": {
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Completed"}]
    },
    "status of a stage that failed": {
        "conditions": [{"type": "Failed", "status": "True", "reason": "RetriesExhausted"}]
    },
    "status of another attempt": {"attempt": 7},
}
FAULTS = (*ENDS, "child deleted", "pods deleted", "child says Succeeded", "child says Failed")
NOT_OF_THE_STAGE = ("exit code 137", "evicted", "child deleted")
"""Faults that never count as the stage's own."""
BUDGETS = {"preemption": 99, "infrastructure": 99, "application": 99}
KILLS_PER_FAULT, RESTARTS_PER_FAULT, FORGED_PER_FAULT = 0.05, 0.01, 0.15
PAUSE_SECONDS = 0.1
AGAIN_SECONDS = 15.0
"""Pods that run on for so long have not noticed: what was said of their job was overruled."""


@dataclass(slots=True)
class Course:
    """What is to happen to one stage."""

    name: str
    faults: list[str]
    end: str
    """Reason that its status must have in the end."""
    met: dict[frozenset[str], float] = field(default_factory=dict)
    """When the pods of an attempt met their fault."""


@dataclass(slots=True)
class Tally:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""
    ended: Counter[str] = field(default_factory=Counter)
    """Stages by the reason that they ended with."""
    wrong: list[str] = field(default_factory=list)
    """Stages that ended elsewhere than they should, or not at all."""
    changes: int = 0
    """Changes of jobs and pods that were looked at."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def total(self) -> int:
        """Faults injected."""
        return self.faults.total()


class FaultInjector:
    """Plays the stages of one namespace, and their misfortunes."""

    def __init__(
        self, player: Player, operator: OperatorProcess, control_plane: ControlPlane, seed: int
    ) -> None:
        """Take everything that can break; the same seed leads to the same faults."""
        self._player, self._operator, self._control_plane = player, operator, control_plane
        self._rng = random.Random(seed)
        self._courses: dict[str, Course] = {}
        self._made = 0
        self._tally = Tally()

    def run(
        self, faults: int, at_once: int, patience_seconds: float = 120
    ) -> tuple[Tally, list[str]]:
        """Inject faults until there were so many, then let all stages end.

        Args:
            faults: how many.
            at_once: stages that are under way at the same time.
            patience_seconds: nothing ended for so long: what is left is lost.

        Returns:
            What happened, and what must never have been: two attempts of a stage at once.
        """
        began = last = time.monotonic()
        with Overseer(self._player.api, self._player.namespace) as overseer:
            while self._tally.total < faults or self._courses:
                try:
                    if self._step(overseer, faults, at_once):
                        last = time.monotonic()
                except (ApiError, urllib3.exceptions.HTTPError):
                    # Something is gone meanwhile, or the server is away: again.
                    pass
                if time.monotonic() - last > patience_seconds:
                    break
                time.sleep(PAUSE_SECONDS)
        for course in self._courses.values():
            reason = self._player.reason("TrainingStage", course.name)
            self._tally.wrong.append(f"{course.name}: {reason} for ever, not {course.end}")
        self._tally.seconds, self._tally.changes = time.monotonic() - began, overseer.changes
        return self._tally, overseer.problems

    def _step(self, overseer: Overseer, faults: int, at_once: int) -> bool:
        """Let one thing happen to each stage; return whether one has ended."""
        while len(self._courses) < at_once and self._tally.total < faults:
            self._begin()
        ended = self._reap()
        for job in overseer.jobs():
            labels = job["metadata"]["labels"]
            course = self._courses.get(labels["assay.dev/name"])
            pods = overseer.pods(job)
            if course and "deletionTimestamp" not in job["metadata"] and _all_run(pods):
                self._meet(course, job, pods)
        return ended

    def _begin(self) -> None:
        name = f"stage-{self._made}"
        end = self._rng.choices(("Completed", "InputRefused", "RetriesExhausted"), (6, 1, 1))[0]
        own = end == "RetriesExhausted"
        possible = NOT_OF_THE_STAGE if own else FAULTS
        faults = self._rng.choices(possible, k=self._rng.randint(0, 4))
        self._player.apply_stage(name, retry=BUDGETS | ({"application": 0} if own else {}))
        self._courses[name] = Course(name, faults, end)
        self._made += 1

    def _reap(self) -> bool:
        """Take out the stages that have ended."""
        found = self._player.api.items(
            "assay.dev/v1alpha1", "TrainingStage", self._player.namespace
        )
        before = len(self._courses)
        for stage in found:
            course = self._courses.get(stage["metadata"]["name"])
            reason = _settled(stage)
            if course is None or reason is None or course.faults:
                continue
            del self._courses[course.name]
            self._tally.ended[reason] += 1
            if reason != course.end:
                self._tally.wrong.append(f"{course.name}: {reason}, not {course.end}")
            self._player.api.delete(stage)
        return len(self._courses) < before

    def _meet(self, course: Course, job: Object, pods: list[Object]) -> None:
        """Let a running attempt meet its fault, or its end."""
        who = frozenset(pod["metadata"]["uid"] for pod in pods)
        if time.monotonic() - course.met.get(who, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        if self._happens(FORGED_PER_FAULT):
            self._forge(course)
        if course.faults:
            fault = course.faults[0]
            self._inject(fault, job, pods)
            del course.faults[0]
            self._tally.faults[fault] += 1
        elif course.end == "Completed":
            self._player.prove(job)
            self._end(pods, Ends())
        else:
            self._end(pods, Ends(exit_code=2 if course.end == "InputRefused" else 1))
        course.met[who] = time.monotonic()
        self._strike()

    def _inject(self, fault: str, job: Object, pods: list[Object]) -> None:
        acts: dict[str, Callable[[], None]] = {
            "child deleted": lambda: self._player.api.delete(job),
            "pods deleted": lambda: self._delete(pods),
            "child says Succeeded": lambda: self._say(job, "Succeeded"),
            "child says Failed": lambda: self._say(job, "Failed"),
        }
        act = acts.get(fault, lambda: self._end(pods, ENDS[fault]))
        act()

    def _forge(self, course: Course) -> None:
        kind = self._rng.choice(sorted(FORGED))
        stage = self._player.resource("TrainingStage", course.name)
        conditions = [
            {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": "", **c}
            for c in FORGED[kind].get("conditions") or ()
        ]
        changes = {**FORGED[kind], **({"conditions": conditions} if conditions else {})}
        self._player.api.patch(stage, {"status": changes}, "status")
        self._tally.faults[kind] += 1

    def _strike(self) -> None:
        """Kill the operator or restart the API server, now and then."""
        if self._happens(KILLS_PER_FAULT):
            self._operator.restart()
            self._tally.faults["operator killed"] += 1
        if self._happens(RESTARTS_PER_FAULT):
            self._control_plane.restart_server()
            self._tally.faults["API server restarted"] += 1

    def _happens(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _end(self, pods: list[Object], behaviour: Behaviour) -> None:
        for pod in pods:
            status = next_status(pod, behaviour, pod["status"].get("podIP", ""), time.time())
            if status is not None:
                uid = {"uid": pod["metadata"]["uid"]}
                self._player.api.patch(
                    pod, {"metadata": uid, "status": status}, "status", STRATEGIC
                )

    def _delete(self, pods: list[Object]) -> None:
        for pod in pods:
            self._player.api.delete(pod)

    def _say(self, job: Object, what: str) -> None:
        now = "2026-01-01T00:00:00Z"
        condition = {"type": what, "status": "True", "reason": "Forged", "message": "forged"}
        times = {"lastTransitionTime": now, "lastUpdateTime": now}
        status = {
            "conditions": [*job.get("status", {}).get("conditions", ()), {**condition, **times}]
        }
        self._player.api.patch(job, {"status": status}, "status")


def _all_run(pods: list[Object]) -> bool:
    return bool(pods) and all(
        pod.get("status", {}).get("phase") == "Running"
        and "deletionTimestamp" not in pod["metadata"]
        for pod in pods
    )


def _settled(stage: Object) -> str | None:
    """Return the reason of a stage that has ended, by the operator's own word."""
    conditions = {c["type"]: c for c in stage.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready")
    if ready is None:
        return None
    over = any(conditions[kind]["status"] == "True" for kind in ("Succeeded", "Failed"))
    return str(ready["reason"]) if over else None
