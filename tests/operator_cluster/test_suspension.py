"""Suspend: what runs is asked to save and stop, is waited for, and goes then or in the end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_objects import (
    JUDGE,
    NOW_SECONDS,
    READY,
    RESTING,
    STAGE,
    SUPERVISED,
    child,
    conditions,
    ended,
    pod,
    record,
    seen,
    times,
    waiting,
)
from model_store import ModelStore
from simulation import ALONE, Inline, Simulation

from assay_api import StopRequest
from assay_api.errors import StoreError
from assay_operator.children.owner import Manifest, Owner
from assay_operator.cluster.actions import Actions, decide
from assay_operator.cluster.ledger import Ledger
from assay_operator.cluster.observe import Told, observe
from assay_operator.cluster.seen import Seen
from assay_operator.conditions import Verdict, verdict_of
from assay_operator.decision import Workload
from assay_operator.policies.evidence import evidence_of
from assay_operator.policies.suspension import how_it_stopped
from assay_operator.reconcile import reconcile

RUNNING = child(status=conditions("Running"))
OVER = child(status=conditions("Succeeded"))


def asked(seconds_ago: float) -> Told:
    stops = {(STAGE, 1): NOW_SECONDS - seconds_ago}
    return replace(READY, stops=stops, steps={STAGE: 3}, checkpoints={STAGE: 3})


def suspending(seconds_ago: int) -> dict[str, Any]:
    return conditions("Blocked", at=times(3000 - seconds_ago), reason="Suspending")


def build(workload: Workload, owner: Owner) -> Sequence[Manifest]:
    return (child("PyTorchJob", workload.attempt, owner=workload.owner, uid=owner.uid),)


def decided(world: Seen, store: Told = READY) -> Actions:
    return decide(world.resources[STAGE], world, observe(world, store, NOW_SECONDS), build)


def verdict(actions: Actions) -> Verdict:
    return verdict_of(actions.status)


def reason(actions: Actions) -> str:
    return verdict(actions).reason.value


def test_what_runs_is_asked_to_stop_and_not_deleted() -> None:
    found = decided(seen(RUNNING, pod(), manifests=RESTING))
    assert (reason(found), found.stop, found.delete) == ("Suspending", 1, ())
    assert verdict(found).message == "attempt 1 saves a checkpoint and stops"
    again = decided(
        seen(RUNNING, pod(), manifests=RESTING, alone=suspending(5)), asked(seconds_ago=5)
    )
    assert (reason(again), again.stop, again.delete) == ("Suspending", None, ())
    assert again.requeue_after == 595.0


@pytest.mark.parametrize(
    ("status", "pods", "asks"),
    [
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, [pod()], True),
        ({"jobDeploymentStatus": "Initializing", "jobStatus": ""}, [pod()], False),
        ({}, [], False),
        (
            {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"},
            [pod(), pod("p-1", "Pending", **waiting("ImagePullBackOff"))],
            False,
        ),
    ],
)
def test_only_what_is_at_work_is_asked(
    status: dict[str, Any], pods: list[Manifest], asks: bool
) -> None:
    found = decided(seen(child("RayJob", status=status), *pods, manifests=RESTING))
    assert (found.stop == 1) is asks
    assert reason(found) == ("Suspending" if asks else "Suspended")


def test_a_stage_that_stands_still_is_asked_too() -> None:
    still = pod(startTime=times(0))
    found = decided(seen(RUNNING, still, manifests=RESTING))
    assert (reason(found), found.stop) == ("Suspending", 1)


def test_a_judge_is_served_until_the_stage_that_asks_it_has_stopped() -> None:
    asking = """
kind: TrainingStage
metadata: {name: alone}
spec:
  model: {uri: m}
  dataset: clips
  rl: {steps: 40}
  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: judge}]
  suspend: true
---
kind: RewardModel
metadata: {name: judge}
spec: {model: {uri: m}}
"""
    server = child("Deployment", owner=JUDGE, uid="uid-judge", role="Serve")
    at_work = child("RayJob", status={"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
    for objects, deleted in (((at_work, pod()), ()), ((), (JUDGE,))):
        observed = observe(seen(server, *objects, manifests=asking), READY, NOW_SECONDS)
        assert reconcile(observed.resources[JUDGE], observed).delete == deleted


def test_what_has_stopped_as_asked_is_recorded_without_failure_and_then_goes() -> None:
    first = decided(seen(OVER, manifests=RESTING, alone=suspending(60)), asked(60))
    assert (reason(first), first.delete, first.requeue_after) == ("Suspended", (), 0.0)
    status = first.status.model_dump(by_alias=True)
    (kept,) = status["attempts"]
    assert (kept["failure"], kept["step"]) == (None, 3)
    assert kept["message"] == "saved a checkpoint of step 3 and stopped"
    assert verdict(first).message == "spec.suspend is true; attempt 1 " + kept["message"]
    assert not any(status["failures"].values())
    on_record = {"attempt": 1, "attempts": [{**kept, "endedAt": times(0)}]}
    second = decided(seen(OVER, manifests=RESTING, alone=on_record), asked(60))
    assert [m["metadata"]["name"] for m in second.delete] == ["alone-a1"]
    assert verdict(second) == verdict(first)
    third = decided(seen(manifests=SUPERVISED, alone=on_record))
    assert [m["metadata"]["name"] for m in third.create] == ["alone-a2"]


@pytest.mark.parametrize(
    ("step", "checkpoint", "words"),
    [
        (3, 3, "saved a checkpoint of step 3 and stopped"),
        (0, None, "stopped before its first step"),
        (3, 2, "stopped at step 3, and its newest checkpoint is step 2"),
        (3, None, "stopped at step 3, and its newest checkpoint is none"),
    ],
)
def test_what_it_has_saved_is_what_the_store_has(
    step: int, checkpoint: int | None, words: str
) -> None:
    assert how_it_stopped(step, checkpoint) == words


@pytest.mark.parametrize(
    ("store", "since"),
    [
        (asked(599.0), 599),
        # The store could not be written: the status knows since when it waits.
        (READY, 599),
        # The stage was blocked before, for another reason.
        (asked(599.0), 2000),
    ],
)
def test_a_deadline_ends_the_waiting(store: Told, since: int) -> None:
    world = seen(RUNNING, pod(), manifests=RESTING, alone=suspending(since))
    patient = decided(world, store)
    assert (reason(patient), patient.delete, patient.requeue_after) == ("Suspending", (), 1.0)
    late = decide(world.resources[STAGE], world, observe(world, store, NOW_SECONDS + 1.0), build)
    assert (reason(late), late.delete) == ("Suspended", ())
    (kept,) = late.status.model_dump(by_alias=True)["attempts"]
    assert (kept["failure"], kept["message"]) == (
        None,
        "did not stop within 600 s and was deleted",
    )
    on_record = {"attempt": 1, "attempts": [{**kept, "endedAt": times(0)}]}
    gone = decided(seen(RUNNING, pod(), manifests=RESTING, alone=on_record), store)
    assert [m["metadata"]["name"] for m in gone.delete] == ["alone-a1"]
    assert verdict(gone).message == f"spec.suspend is true; attempt 1 {kept['message']}"


def test_to_go_on_again_comes_too_late_for_an_attempt_that_was_asked() -> None:
    world = seen(RUNNING, pod(), manifests=SUPERVISED, alone=suspending(5))
    found = decided(world, asked(5))
    assert (reason(found), found.delete, found.stop) == ("Running", (), None)
    assert verdict(found).message == (
        "attempt 1 saves a checkpoint and stops; then the next one starts"
    )
    ended_now = decided(seen(OVER, manifests=SUPERVISED), asked(5))
    assert (reason(ended_now), ended_now.create) == ("Due", ())
    (kept,) = ended_now.status.model_dump(by_alias=True)["attempts"]
    assert kept["failure"] is None


def test_who_suspends_again_waits_as_long_as_before() -> None:
    world = seen(RUNNING, pod(), manifests=RESTING, alone=conditions("Running"))
    found = decided(world, asked(599))
    assert (reason(found), found.requeue_after) == ("Suspending", 600.0)


def test_an_end_without_proof_that_nobody_asked_for_is_a_failure() -> None:
    found = decided(seen(OVER, manifests=SUPERVISED))
    (kept,) = found.status.model_dump(by_alias=True)["attempts"]
    assert kept["failure"] == "application"


def test_who_fails_while_it_stops_has_failed() -> None:
    down = pod(phase="Failed", **ended(1))
    found = decided(
        seen(child(status=conditions("Failed")), down, manifests=RESTING, alone=suspending(9)),
        asked(9),
    )
    (kept,) = found.status.model_dump(by_alias=True)["attempts"]
    assert (reason(found), kept["failure"]) == ("Suspended", "application")


@pytest.mark.parametrize(
    ("code", "words", "exit_code"),
    [
        (143, "", 143),
        (1, "exitcode  : 143 (pid: 31)", 143),
        (1, "SignalException: Process 1 got signal: 15", -15),
        # Its own process died of the signal, and it was asked to end as well.
        (1, "exitcode : 1 (pid: 3)\n...SignalException: Process 1 got signal: 15", -15),
    ],
)
def test_an_end_on_sigterm_is_neither_success_nor_the_programs_fault(
    code: int, words: str, exit_code: int
) -> None:
    down = pod(phase="Failed", **ended(code, message=words))
    found = evidence_of(child(status=conditions("Failed")), [down])
    assert (found.failure, found.exit_code) == ("infrastructure", exit_code)


# ---------------------------------------------------------------- the request in the store


def request(store: ModelStore, attempt: int = 1) -> StopRequest:
    return StopRequest.model_validate_json(store.keys[STAGE.stop_key(attempt)])


def test_a_request_is_written_once_and_found_by_who_comes_after() -> None:
    store = ModelStore()
    Ledger(store, Inline()).ask_to_stop(STAGE, "uid-alone", 1, NOW_SECONDS)
    again = Ledger(store, Inline())
    again.ask_to_stop(STAGE, "uid-alone", 1, NOW_SECONDS + 50.0)
    assert request(store).requested_at.timestamp() == NOW_SECONDS
    world = seen(RUNNING, pod(), manifests=RESTING)
    restarted = Ledger(store, Inline()).look(world, NOW_SECONDS + 60.0)
    assert (
        restarted.stops == {(STAGE, 1): NOW_SECONDS} == again.look(world, NOW_SECONDS + 60.0).stops
    )


@pytest.mark.parametrize(
    "left", [b'{"uid": "uid-before", "requestedAt": "2026-01-01T00:00:00Z"}', b"{"]
)
def test_a_request_to_a_stage_before_it_of_the_same_name_is_none(left: bytes) -> None:
    store = ModelStore()
    store.keys[STAGE.stop_key(1)] = left
    ledger = Ledger(store, Inline())
    assert ledger.look(seen(OVER, manifests=SUPERVISED), NOW_SECONDS).stops == {}
    ledger.ask_to_stop(STAGE, "uid-alone", 1, NOW_SECONDS)
    assert request(store).uid == "uid-alone"


def test_the_checkpoint_of_a_stop_is_seen_though_its_step_was_told_before() -> None:
    store, running = ModelStore(), seen(RUNNING, pod(), manifests=RESTING)
    store.keys[STAGE.progress_key] = b'{"step": 7, "total": 40, "doing": "", "metrics": {}}'
    ledger = Ledger(store, Inline())
    assert ledger.look(running, NOW_SECONDS).checkpoints == {}
    ledger.ask_to_stop(STAGE, "uid-alone", 1, NOW_SECONDS)
    store.keys[f"{STAGE.folder}/checkpoints/step-000007/checkpoint.json"] = b"{}"
    assert ledger.look(seen(OVER, manifests=RESTING), NOW_SECONDS + 1.0).checkpoints == {STAGE: 7}


def under_way() -> Simulation:
    """Return a simulation in which the stage has one attempt, whose pods run."""
    simulation = Simulation(ALONE)
    simulation.operator.tick()
    (job,) = simulation.cluster.jobs()
    simulation.cluster.start_pods(job)
    simulation.succeed(job)
    for _ in range(3):
        simulation.operator.tick()
    simulation.cluster.start_pods(simulation.cluster.objects["PyTorchJob", "alone-a1"])
    simulation.operator.tick()
    assert simulation.cluster.reason("TrainingStage", "alone") == "Running"
    return simulation


def suspend(simulation: Simulation, wanted: bool) -> None:
    stage = simulation.cluster.objects["TrainingStage", "alone"]
    simulation.cluster.change_spec(stage, suspend=wanted)


def test_a_store_that_is_away_is_told_and_ends_the_waiting_no_later() -> None:
    simulation = under_way()
    cluster = simulation.cluster
    simulation.store.away = True
    suspend(simulation, True)
    simulation.operator.tick()
    ready = cluster.status_of("TrainingStage", "alone")["conditions"][0]
    assert (ready["reason"], ready["message"]) == (
        "Suspending",
        "attempt 1 saves a checkpoint and stops, once it can be told: the store is away",
    )
    for _ in range(59):
        cluster.now += 10.0
        # It knows since when, although it starts anew each time.
        simulation.operator = simulation.start()
        simulation.operator.tick()
    assert ("PyTorchJob", "alone-a1") in cluster.objects
    for _ in range(3):
        cluster.now += 10.0
        simulation.operator.tick()
        cluster.settle()
    assert ("PyTorchJob", "alone-a1") not in cluster.objects
    assert cluster.reason("TrainingStage", "alone") == "Suspended"


def test_a_request_is_tried_again_until_the_store_takes_it() -> None:
    simulation = under_way()
    simulation.store.away = True
    suspend(simulation, True)
    assert simulation.operator.tick() == 5.0
    simulation.store.away = False
    simulation.operator.tick()
    assert simulation.store.exists("stages/alone/stops/attempt-1.json")


def test_what_is_not_the_writer_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = under_way()
    suspend(simulation, True)
    monkeypatch.setattr(simulation.operator._writer, "_may_write", lambda: False)
    simulation.operator.tick()
    assert not simulation.store.exists("stages/alone/stops/attempt-1.json")


def test_a_stage_goes_on_with_the_step_that_it_has_saved() -> None:
    simulation = under_way()
    cluster = simulation.cluster
    simulation.step(cluster.objects["PyTorchJob", "alone-a1"])
    suspend(simulation, True)
    simulation.operator.tick()
    assert cluster.reason("TrainingStage", "alone") == "Suspending"
    simulation.answer(cluster.objects["PyTorchJob", "alone-a1"])
    for _ in range(3):
        simulation.operator.tick()
        cluster.settle()
    assert cluster.reason("TrainingStage", "alone") == "Suspended"
    assert not cluster.jobs() or cluster.jobs()[0]["kind"] == "Job"
    suspend(simulation, False)
    for _ in range(3):
        simulation.operator.tick()
    simulation.cluster.start_pods(cluster.objects["PyTorchJob", "alone-a2"])
    simulation.succeed(cluster.objects["PyTorchJob", "alone-a2"])
    for _ in range(3):
        simulation.operator.tick()
    status = cluster.status_of("TrainingStage", "alone")
    assert cluster.reason("TrainingStage", "alone") == "Completed"
    (first,) = status["attempts"]
    assert first["message"] == "saved a checkpoint of step 1 and stopped"
    assert not any(status["failures"].values())


def test_a_store_that_fails_says_so() -> None:
    store = ModelStore()
    store.away = True
    with pytest.raises(StoreError, match="away"):
        Ledger(store, Inline()).ask_to_stop(STAGE, "uid-alone", 1, NOW_SECONDS)


def test_what_was_stopped_before_leaves_no_trace_on_its_successor() -> None:
    status = {"attempt": 2, "attempts": [record(1)]}
    second = child(attempt=2, status=conditions("Running"))
    found = decided(seen(second, pod(attempt=2), manifests=RESTING, alone=status), asked(5))
    # The request was to attempt 1.
    assert (reason(found), found.stop) == ("Suspending", 2)
