"""Any order of starts, ends, deaths and crashes of the operator keeps the promises.

A model world plays the machine. Hypothesis chooses what happens next; the operator may be killed
between any two of its actions and starts anew from what the store holds.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api import Completion
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify
from assay_operator.conditions import State, verdict_of
from assay_operator.decision import Decision, Role, Workload
from assay_operator.local.loop import choose_starts, everything, is_settled
from assay_operator.observed import Attempt, Finished, Observed
from assay_operator.policies.dependencies import inputs_of
from assay_operator.policies.identity import current_digest
from assay_operator.reconcile import reconcile

TERMINAL = {State.SUCCEEDED, State.FAILED, State.BLOCKED, State.STOPPED}


class ModelMachine:
    """What a machine would do, with every promise checked at every action."""

    def __init__(self, resources: list[Resource]) -> None:
        self.resources = everything(resources)
        self.now = 0.0
        self.finished: dict[ResourceId, Finished] = {}
        self.attempts: dict[ResourceId, tuple[Attempt, ...]] = {}
        self.last_attempt: dict[ResourceId, int] = {}

    def look(self) -> Observed:
        return Observed(
            store_url="file:///store",
            now_seconds=self.now,
            resources={identify(resource): resource for resource in self.resources},
            finished=dict(self.finished),
            attempts=dict(self.attempts),
            last_attempt=dict(self.last_attempt),
        )

    def live(self) -> list[ResourceId]:
        return [id_ for id_ in self.attempts if self.look().live_attempt(id_)]

    def start(self, workload: Workload) -> None:
        owner = workload.owner
        assert owner not in self.live(), "two live workloads of one resource"
        assert owner not in self.finished, "finished work is redone"
        assert workload.attempt == self.last_attempt.get(owner, 0) + 1, (
            "an attempt's name is reused"
        )
        if workload.role is not Role.SERVE:
            assert all(id_.kind == "RewardModel" for id_ in self.live()), "two heavy workloads"
        resource = self.look().resources[owner]
        assert all(target in self.finished for target in inputs_of(resource)), "inputs are missing"
        if workload.role is Role.TRAIN:
            assert all(judge.url for judge in workload.orders.judges)  # type: ignore[union-attr]
        serving = workload.role is Role.SERVE
        ready_by = self.now + 20.0 if serving else None
        attempt = Attempt(workload.attempt, self.now, ready_by_seconds=ready_by)
        self.attempts[owner] = (*self.attempts.get(owner, ()), attempt)
        self.last_attempt[owner] = workload.attempt

    def update(self, owner: ResourceId, **changes: object) -> None:
        *before, newest = self.attempts[owner]
        self.attempts[owner] = (*before, replace(newest, **changes))  # type: ignore[arg-type]

    def end(self, owner: ResourceId, exit_code: int, stopped: bool = False) -> None:
        self.update(owner, ended_seconds=self.now, exit_code=exit_code, stopped=stopped)

    def complete(self, owner: ResourceId, accuracy: float) -> None:
        observed = self.look()
        digest = current_digest(observed.resources[owner], observed)  # type: ignore[arg-type]
        completion = Completion(
            spec_digest=digest, digest="d", result=".", summary={"accuracy/think": accuracy}
        )
        self.finished[owner] = Finished(completion, None, self.now)

    def crash(self) -> None:
        """Kill the operator: workloads die with it, and a new one knows only the store."""
        self.attempts = {}

    def happen(self, choice: str, victim: int, accuracy: float) -> None:
        """Let one thing happen to one live workload."""
        live = self.live()
        if choice == "crash":
            self.crash()
        if not live or choice in ("nothing", "crash"):
            return
        owner = live[victim % len(live)]
        if owner.kind == "RewardModel":
            changes = {"ready": 0, "fail": 1, "killed": -9}
            if choice == "ready" or choice == "finish":
                self.update(owner, url="http://127.0.0.1:1/v1")
            elif choice in changes:
                self.end(owner, changes[choice])
        elif choice == "finish":
            if owner not in self.finished:
                self.complete(owner, accuracy)
            self.end(owner, 0)
        elif choice == "finish-but-hang":
            if owner not in self.finished:
                self.complete(owner, accuracy)
        elif choice in ("fail", "killed", "refused"):
            self.end(owner, {"fail": 1, "killed": -9, "refused": 2}[choice])
        elif choice == "step":
            self.update(owner, step=self.attempts[owner][-1].step + 1)

    def passes(self, crash_after: int | None = None) -> dict[ResourceId, Decision]:
        """Make one pass of the operator; it may die after some of its actions."""
        observed = self.look()
        decisions = {identify(r): reconcile(r, observed) for r in self.resources}
        actions = [(id_, None) for d in decisions.values() for id_ in d.delete]
        starts = [(w.owner, w) for w in choose_starts(decisions, observed)]
        for count, (owner, workload) in enumerate([*actions, *starts]):
            if count == crash_after:
                self.crash()
                break
            if workload is None:
                self.end(owner, -15, stopped=True)
            else:
                self.start(workload)
        return decisions


happenings = st.tuples(
    st.sampled_from(
        [
            "nothing",
            "ready",
            "finish",
            "finish",
            "finish-but-hang",
            "fail",
            "killed",
            "refused",
            "step",
            "crash",
        ]
    ),
    st.integers(0, 3),
    st.sampled_from([0.5, 0.9]),
    st.floats(0.1, 30.0),
    st.one_of(st.none(), st.integers(0, 2)),
)


@given(story=st.lists(happenings, max_size=60))
@settings(deadline=None, max_examples=150)
def test_promises_hold_whatever_happens_and_the_run_ends(
    resources: list[Resource], story: list[tuple[str, int, float, float, int | None]]
) -> None:
    machine = ModelMachine(resources)
    for choice, victim, accuracy, seconds, crash_after in story:
        machine.passes(crash_after)
        machine.now += seconds
        machine.happen(choice, victim, accuracy)
    decisions = run_on(machine)
    states = {id_: verdict_of(decision.status).state for id_, decision in decisions.items()}
    assert set(states.values()) <= TERMINAL
    for id_, state in states.items():
        if id_.kind != "RewardModel":
            assert (state is State.SUCCEEDED) == (id_ in machine.finished)


def run_on(machine: ModelMachine) -> dict[ResourceId, Decision]:
    """Let everything that lives get on well until nothing is left to do."""
    for _ in range(200):
        decisions = machine.passes()
        if is_settled(decisions, machine.look()):
            return decisions
        machine.now += 70.0
        for victim in range(len(machine.live())):
            machine.happen("finish", victim, 0.9)
    pytest.fail("the run does not end")


def test_without_mishaps_everything_succeeds_in_one_attempt_each(
    resources: list[Resource],
) -> None:
    machine = ModelMachine(resources)
    decisions = run_on(machine)
    states = {str(id_): str(verdict_of(d.status).state) for id_, d in decisions.items()}
    assert states == {
        "Dataset/clips": "Succeeded",
        "TrainingStage/judge-training": "Succeeded",
        "RewardModel/judge": "Stopped",
        "TrainingStage/foundation": "Succeeded",
        "Evaluation/after": "Succeeded",
        "TrainingStage/advanced": "Succeeded",
    }
    assert set(machine.last_attempt.values()) == {1}
