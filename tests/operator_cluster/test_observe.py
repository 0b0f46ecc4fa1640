"""From what was seen on a cluster to attempts, failures and where servers answer."""

from dataclasses import replace
from typing import Any

import pytest
from made_objects import (
    CREATED_SECONDS,
    DATASET,
    JUDGE,
    STAGE,
    child,
    conditions,
    ended,
    pod,
    record,
    seen,
    times,
    told,
    waiting,
)

from assay_api import Completion, Dataset, Evaluation
from assay_api.layout import ResourceId
from assay_operator.cluster.observe import observe, stop_recorded, uncertain
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Attempt, FailureClass, Finished
from assay_operator.statuses import dataset_status, evaluation_status

NOW = CREATED_SECONDS + 100.0
DONE = Finished(Completion(spec_digest="s", digest="d", result="."), None, 0.0)


def test_recorded_attempts_come_back_as_they_were() -> None:
    attempts = [
        record(1, "preemption", exitCode=143, step=5),
        record(2, "application", exitCode=1),
        record(3),
    ]
    found = observe(seen(alone={"attempt": 3, "attempts": attempts}), told(), NOW)
    one, two, three = found.attempts_of(STAGE)
    assert (one.number, one.failure, one.exit_code, one.step) == (
        1,
        FailureClass.PREEMPTION,
        143,
        5,
    )
    assert (one.ended_seconds, one.message) == (CREATED_SECONDS, "m")
    assert (two.failure, two.stopped) == (FailureClass.APPLICATION, False)
    assert (three.failure, three.stopped, three.live) == (None, True, False)
    assert found.next_attempt(STAGE) == 4


@pytest.mark.parametrize("forged", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_forged_time_ends_nothing_but_itself(forged: str) -> None:
    status = {"attempt": 1, "attempts": [{**record(1, "application"), "endedAt": forged}]}
    (found,) = observe(seen(alone=status), told(), NOW).attempts_of(STAGE)
    assert found.ended_seconds == 0.0


def test_a_child_that_is_recorded_is_not_counted_again() -> None:
    status = {"attempt": 1, "attempts": [record(1, "application")]}
    running = child(status=conditions("Running"))
    (found,) = observe(seen(running, alone=status), told(), NOW).attempts_of(STAGE)
    assert not found.live


def test_a_child_of_a_deleted_namesake_is_no_attempt() -> None:
    found = observe(seen(child(uid="uid-before")), told(), NOW)
    assert found.attempts_of(STAGE) == ()
    assert found.next_attempt(STAGE) == 1


def test_a_child_lives_or_has_ended() -> None:
    live = observe(seen(child(), pod()), told(steps={STAGE: 7}), NOW).attempts_of(STAGE)
    assert live == (Attempt(1, CREATED_SECONDS, step=7),)
    over = child(status=conditions("Failed"))
    (found,) = observe(seen(over, pod(phase="Failed", **ended(2))), told(), NOW).attempts_of(STAGE)
    assert (found.ended_seconds, found.exit_code, found.failure) == (NOW, 2, FailureClass.INPUT)


def test_success_without_its_proof_ended_with_nothing() -> None:
    (found,) = observe(seen(child(status=conditions("Succeeded"))), told(), NOW).attempts_of(STAGE)
    assert (found.live, found.exit_code, found.failure, found.stopped) == (False, 0, None, False)


@pytest.mark.parametrize(
    ("role", "collected", "stopped"),
    [("Collect", True, True), ("Collect", False, False), ("Train", True, False)],
)
def test_a_collection_with_its_samples_has_done_its_part(
    role: str, collected: bool, stopped: bool
) -> None:
    done = child(status=conditions("Succeeded"), role=role)
    samples = {STAGE: "identity"} if collected else {}
    (found,) = observe(seen(done), told(collected=samples), NOW).attempts_of(STAGE)
    assert found.stopped is stopped


def test_a_child_that_vanished_is_a_failure_of_nobodys_making() -> None:
    status = {"attempt": 2, "attempts": [record(1, "application")], "step": 3}
    found = observe(seen(alone=status), told(), NOW)
    _, vanished = found.attempts_of(STAGE)
    assert (vanished.number, vanished.failure) == (2, FailureClass.INFRASTRUCTURE)
    assert (vanished.step, vanished.ended_seconds) == (3, NOW)
    assert vanished.message == "was deleted by somebody else"
    assert found.next_attempt(STAGE) == 3
    # What is proven needs no child.
    proven = observe(seen(alone=status), told(finished={STAGE: DONE}), NOW)
    assert [a.number for a in proven.attempts_of(STAGE)] == [1]


def test_what_ended_with_its_proof_did_it_and_what_lives_on_lives_on() -> None:
    proven = told(finished={STAGE: DONE})
    over = seen(child(status=conditions("Failed")), alone={"attempt": 1})
    assert observe(over, proven, NOW).attempts_of(STAGE) == ()
    live = seen(child(status=conditions("Running")), pod(), alone={"attempt": 1})
    assert observe(live, proven, NOW).live_attempt(STAGE) is not None


def test_failures_before_the_ten_that_are_kept_still_count() -> None:
    kept = [record(n, "preemption") for n in range(4, 13)] + [record(13, "application")]
    counted = {"preemption": 12, "infrastructure": 1, "application": 1}
    status = {"attempt": 13, "attempts": kept, "failures": counted}
    found = observe(seen(alone=status), told(), NOW).forgotten[STAGE]
    # 12 less the 9 that are kept; 1 of which nothing is kept; 1 that is kept; none.
    assert found == {
        FailureClass.PREEMPTION: 3,
        FailureClass.INFRASTRUCTURE: 1,
        FailureClass.APPLICATION: 0,
        FailureClass.INPUT: 0,
    }


@pytest.mark.parametrize(
    ("started", "stood", "reason"),
    [
        (0, 1801.0, Reason.NO_PROGRESS),
        (0, 1799.0, None),
        # The step is that of an attempt before: this one has only begun.
        (1000, 1801.0, None),
        # It never made a first step.
        (0, None, Reason.NO_PROGRESS),
    ],
)
def test_a_stage_stands_still_since_its_pods_started(
    started: int, stood: float | None, reason: Reason | None
) -> None:
    now = CREATED_SECONDS + 1801.0
    running = pod(startTime=times(started))
    steps = {} if stood is None else {STAGE: 7}
    still = {} if stood is None else {STAGE: now - stood}
    known = told(steps=steps, still_since=still)
    (found,) = observe(seen(child(), running), known, now).attempts_of(STAGE)
    assert (found.stuck.reason if found.stuck else None) is reason
    # Only training tells its steps.
    (found,) = observe(seen(child(role="Collect"), running), known, now).attempts_of(STAGE)
    assert found.stuck is None


def deployment(ready: int = 0, **metadata: Any) -> dict[str, Any]:
    status = {"availableReplicas": ready} if ready else {}
    return child("Deployment", 1, status, JUDGE, "uid-judge", "Serve", **metadata)


def test_a_judge_answers_once_a_replica_is_available() -> None:
    assert observe(seen(), told(), NOW).attempts_of(JUDGE) == ()
    (starting,) = observe(seen(deployment(), pod(owner=JUDGE)), told(), NOW).attempts_of(JUDGE)
    assert (starting.url, starting.stuck) == (None, None)
    (ready,) = observe(seen(deployment(1)), told(), NOW).attempts_of(JUDGE)
    assert ready.url == "http://judge-judge.team.svc:8000/v1"
    held = seen(deployment(), pod(owner=JUDGE, **waiting("CrashLoopBackOff")))
    (crashing,) = observe(held, told(), NOW).attempts_of(JUDGE)
    assert crashing.stuck is not None
    assert crashing.stuck.reason is Reason.CRASH_LOOP
    leaving = seen(deployment(1, deletionTimestamp=times(1)))
    assert observe(leaving, told(), NOW).attempts_of(JUDGE) == ()


def test_a_stop_is_recorded_on_the_newest_attempt_only() -> None:
    status = {"attempt": 1, "attempts": [record(1, "application")]}
    before = observe(seen(child(attempt=2), pod(attempt=2), alone=status), told(), NOW)
    first, second = stop_recorded(before, STAGE).attempts_of(STAGE)
    assert first == before.attempts_of(STAGE)[0]
    assert (second.number, second.stopped, second.ended_seconds) == (2, True, NOW)


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        (set(), set()),
        ({STAGE}, {STAGE, JUDGE}),
        ({DATASET}, {DATASET, STAGE, JUDGE}),
        ({ResourceId("TrainingStage", "other")}, set()),
    ],
)
def test_nothing_is_concluded_about_what_depends_on_the_unknown(
    unknown: set[ResourceId], expected: set[ResourceId]
) -> None:
    assert uncertain(seen(), frozenset(unknown)) == expected


def test_a_schedule_is_uncertain_with_what_its_stage_starts_from() -> None:
    manifests = """
kind: TrainingStage
metadata: {name: alone}
spec: {model: {fromStage: base}, dataset: clips, sft: {task: Judge, steps: 4}}
---
kind: Evaluation
metadata: {name: nightly}
spec: {model: {fromStage: alone}, dataset: watch, schedule: "0 3 * * *"}
"""
    unknown = frozenset({ResourceId("TrainingStage", "base")})
    nightly = ResourceId("Evaluation", "nightly")
    assert uncertain(seen(manifests=manifests), unknown) == {STAGE, nightly}


def test_a_pipeline_is_uncertain_with_its_stages() -> None:
    manifests = """
kind: TrainingPipeline
metadata: {name: recipe}
spec:
  stages:
    - name: one
      spec: {model: {uri: m}, dataset: clips, sft: {task: Judge, steps: 2}}
"""
    stage = ResourceId("TrainingStage", "recipe-one")
    found = uncertain(seen(manifests=manifests), frozenset({stage}))
    assert found == {ResourceId("TrainingPipeline", "recipe")}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "forged"])
def test_what_is_no_number_is_not_reported(value: float | str) -> None:
    summary: dict[str, float | int | str] = {
        "numRows": value,
        "numDropped": 2,
        "accuracy/think": value,
        "accuracy/no_think": 0.5,
    }
    completion = Completion(spec_digest="s", digest="d", result=".", summary=summary)
    world = observe(seen(manifests=MORE), told(finished={DATASET: Finished(completion)}), NOW)
    verdict = Verdict(State.SUCCEEDED, Reason.COMPLETED)
    dataset, evaluation = world.resources[DATASET], world.resources[EVALUATION]
    assert isinstance(dataset, Dataset)
    assert isinstance(evaluation, Evaluation)
    found = dataset_status(dataset, verdict, world).model_dump()
    assert (found["num_rows"], found["num_dropped"]) == (None, 2)
    finished = replace(world, finished={EVALUATION: Finished(completion)})
    assert evaluation_status(evaluation, verdict, finished).model_dump()["accuracy"] == {
        "NoThink": 0.5
    }


MORE = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: Evaluation
metadata: {name: after}
spec: {model: {uri: m}, dataset: clips}
"""
EVALUATION = ResourceId("Evaluation", "after")
