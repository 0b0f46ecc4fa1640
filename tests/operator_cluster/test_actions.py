"""What is written about a resource, and in which order."""

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
)

from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId
from assay_operator.children.owner import Manifest, Owner
from assay_operator.cluster.actions import MADE_OF, Actions, decide, leftovers, predecessor, stamped
from assay_operator.cluster.observe import Told, observe
from assay_operator.cluster.seen import Seen
from assay_operator.conditions import Reason, verdict_of
from assay_operator.decision import Workload


def build(workload: Workload, owner: Owner) -> Sequence[Manifest]:
    """Make a companion and a job, as the real builders do."""
    uid, made = owner.uid, workload.attempt
    return (
        child("ConfigMap", made, owner=workload.owner, uid=uid),
        child("PyTorchJob", made, owner=workload.owner, uid=uid),
    )


def decided(world: Seen, id_: ResourceId = STAGE, store: Told = READY) -> Actions:
    return decide(world.resources[id_], world, observe(world, store, NOW_SECONDS), build)


def names(manifests: Sequence[Manifest]) -> list[str]:
    return [f"{m['kind']} {m['metadata']['name']}" for m in manifests]


def reason(actions: Actions) -> Reason:
    return verdict_of(actions.status).reason


def test_what_is_due_is_created_with_its_orders_first() -> None:
    found = decided(seen(manifests=SUPERVISED))
    assert (reason(found), found.requeue_after) == (Reason.DUE, 0.0)
    assert names(found.create) == ["ConfigMap alone-a1", "PyTorchJob alone-a1"]
    assert found.delete == ()


def test_what_fits_no_pool_is_told_and_not_made() -> None:
    def refuse(workload: Workload, owner: Owner) -> Sequence[Manifest]:
        raise InvalidInput("spec.placement.pool: no such pool")

    world = seen(manifests=SUPERVISED)
    found = decide(world.resources[STAGE], world, observe(world, READY, NOW_SECONDS), refuse)
    assert (reason(found), found.create) == (Reason.PLACEMENT_REFUSED, ())


def test_an_end_is_recorded_before_the_next_attempt_and_before_its_child_goes() -> None:
    retry = SUPERVISED.replace("suspend: false", "retry: {preemption: 3}")
    over = child(status=conditions("Failed"))
    down = pod(phase="Failed", **conditions("DisruptionTarget"), **{})
    first = decided(seen(over, down, manifests=retry))
    assert (first.create, first.delete) == ((), ())
    attempts = first.status.model_dump(by_alias=True)["attempts"]
    assert [(a["number"], a["failure"]) for a in attempts] == [(1, "preemption")]
    status = {"attempt": 1, "attempts": [record(1, "preemption")]}
    second = decided(seen(over, down, manifests=retry, alone=status))
    assert names(second.create) == ["ConfigMap alone-a2", "PyTorchJob alone-a2"]
    # For its log, what is over stays until the attempt after it is over too.
    assert second.delete == ()


def test_a_collection_is_on_record_before_the_training_after_it_starts() -> None:
    fusion = SUPERVISED.replace("sft: {task: Judge, steps: 4}", "fusion: {steps: 2}")
    over = child("RayJob", role="Collect", status={"jobDeploymentStatus": "Complete"})
    over["status"]["jobStatus"] = "SUCCEEDED"
    store = replace(READY, collected={STAGE: "samples"})
    first = decided(seen(over, manifests=fusion), store=store)
    assert (first.create, first.requeue_after) == ((), 0.0)
    (record_of_it,) = first.status.model_dump(by_alias=True)["attempts"]
    assert (record_of_it["number"], record_of_it["failure"]) == (1, None)
    status = {"attempt": 1, "attempts": [record(1)]}
    second = decided(seen(over, manifests=fusion, alone=status), store=store)
    assert names(second.create) == ["ConfigMap alone-a2", "PyTorchJob alone-a2"]


@pytest.mark.parametrize(
    "objects",
    [
        # Pods of a job that is over, of one that is gone, and of one of an earlier owner.
        [child(status=conditions("Failed")), pod()],
        [pod()],
        [pod(phase="Pending")],
        [child(status=conditions("Running"), uid="uid-before")],
        [child(status=conditions("Failed"), deletionTimestamp=times(1))],
        [child("ConfigMap", uid="uid-before")],
    ],
)
def test_nothing_starts_beside_what_is_left_of_an_attempt_before(objects: list[Manifest]) -> None:
    status = {"attempt": 1, "attempts": [record(1, "preemption")]}
    found = decided(seen(*objects, manifests=SUPERVISED, alone=status))
    assert (reason(found), found.create) == (Reason.PREDECESSOR_LIVES, ())
    assert found.requeue_after == 2.0


def test_what_has_ended_holds_nothing_up() -> None:
    over = child(status=conditions("Failed"))
    world = seen(over, pod(phase="Failed"), pod("s", "Succeeded", attempt=9), manifests=SUPERVISED)
    assert predecessor(STAGE, world) == ""


def test_leftovers_of_recorded_attempts_go() -> None:
    status = {"attempt": 4, "attempts": [record(n, "application") for n in (1, 2, 3)]}
    over = conditions("Failed")
    objects = [
        child(attempt=1, status=over),
        child("ConfigMap", attempt=1),
        child("ConfigMap", attempt=2),
        child(attempt=3, status=over, deletionTimestamp=times(1)),
        child(attempt=4, status=conditions("Running")),
        child("ConfigMap", attempt=4),
    ]
    # Number 1 has a successor; of number 2 only orders are left; 3 goes already; 4 is at work.
    found = leftovers(STAGE, seen(*objects, manifests=SUPERVISED, alone=status))
    assert names(found) == ["PyTorchJob alone-a1", "ConfigMap alone-a2"]


def test_a_recorded_attempt_that_still_holds_pods_goes_at_once() -> None:
    status = {"attempt": 1, "attempts": [record(1, "infrastructure")]}
    given_up = child("RayJob", status={"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING"})
    world = seen(given_up, manifests=SUPERVISED, alone=status)
    assert names(leftovers(STAGE, world)) == ["RayJob alone-a1"]
    # Not before it is on record.
    assert leftovers(STAGE, seen(given_up, manifests=SUPERVISED)) == ()


def test_a_stop_is_on_record_before_the_child_goes() -> None:
    # It has nothing to save: its program does not run yet.
    pending = child(status=conditions("Created"))
    first = decided(seen(pending, pod(phase="Pending"), manifests=RESTING))
    assert (reason(first), first.delete, first.requeue_after) == (Reason.SUSPENDED, (), 0.0)
    (stop,) = first.status.model_dump(by_alias=True)["attempts"]
    assert (stop["number"], stop["failure"]) == (1, None)
    status = {"attempt": 1, "attempts": [record(1)]}
    second = decided(seen(pending, pod(phase="Pending"), manifests=RESTING, alone=status))
    assert names(second.delete) == ["PyTorchJob alone-a1"]


def test_a_stop_is_not_a_failure() -> None:
    status = {"attempt": 1, "attempts": [record(1)]}
    found = decided(seen(manifests=SUPERVISED, alone=status))
    assert names(found.create)[-1] == "PyTorchJob alone-a2"
    assert found.status.model_dump()["failures"]["application"] == 0


def served(world: Seen) -> Actions:
    def build_server(workload: Workload, owner: Owner) -> Sequence[Manifest]:
        return (
            child("Service", owner=JUDGE, uid=owner.uid, role="Serve"),
            {**child("Deployment", owner=JUDGE, uid=owner.uid, role="Serve"), "spec": {"new": 1}},
        )

    return decide(world.resources[JUDGE], world, observe(world, READY, NOW_SECONDS), build_server)


def in_cluster(manifest: Manifest) -> Manifest:
    """Return what was stamped, as the server has it."""
    made = stamped(manifest)
    extra = {**made["metadata"], "resourceVersion": "9"}
    return {**made, "metadata": extra, "status": {"availableReplicas": 1}}


def test_a_server_is_made_left_alone_and_made_anew_when_its_orders_change() -> None:
    made = served(seen())
    assert names(made.create) == ["Service judge-a1", "Deployment judge-a1"]
    assert all(MADE_OF in m["metadata"]["annotations"] for m in made.create)
    assert made.requeue_after == 0.0
    service, deployment = ({**m, "status": {}} for m in made.create)
    kept = served(seen(service, deployment))
    assert (kept.create, kept.delete, kept.requeue_after) == ((), (), None)
    old = in_cluster(child("Deployment", owner=JUDGE, uid="uid-judge", role="Serve"))
    stale = child("ConfigMap", 7, owner=JUDGE, uid="uid-judge")
    anew = served(seen(service, old, stale))
    assert names(anew.delete) == ["Deployment judge-a1", "ConfigMap judge-a7"]
    # In its place the new one comes at the next look, when its name is free.
    assert (anew.create, anew.requeue_after) == ((), 1.0)


def test_a_server_that_nobody_asks_goes_with_all_it_has() -> None:
    judge = "kind: RewardModel\nmetadata: {name: judge}\nspec: {model: {uri: m}}"
    objects = [
        child("Deployment", owner=JUDGE, uid="uid-judge", role="Serve"),
        child("Service", owner=JUDGE, uid="uid-judge", role="Serve"),
    ]
    found = served(seen(*objects, manifests=judge))
    assert names(found.delete) == ["Deployment judge-a1", "Service judge-a1"]
    assert reason(found) is Reason.NOT_NEEDED


def test_a_schedule_is_kept_up_to_date() -> None:
    evaluation = ResourceId("Evaluation", "after")
    manifests = """
kind: Evaluation
metadata: {name: after}
spec: {model: {uri: m}, dataset: clips, schedule: "0 * * * *"}
"""

    def build_schedule(workload: Workload, owner: Owner) -> Sequence[Manifest]:
        made = child("CronJob", workload.attempt, None, evaluation, owner.uid, "Evaluate")
        return ({**made, "metadata": {**made["metadata"], "name": "evaluation-after"}},)

    def look(*objects: Manifest) -> Actions:
        world = seen(*objects, manifests=manifests)
        observed = observe(world, READY, NOW_SECONDS)
        return decide(world.resources[evaluation], world, observed, build_schedule)

    first = look()
    assert (reason(first), names(first.create)) == (Reason.SCHEDULED, ["CronJob evaluation-after"])
    again = look(*first.create)
    assert (again.create, again.delete, again.requeue_after) == ((), (), None)
    outdated = child("CronJob", owner=evaluation, uid="uid-after", role="Evaluate")
    assert names(look(outdated).delete) == ["CronJob after-a1"]


PIPELINE = """
kind: TrainingPipeline
metadata: {name: recipe}
spec:
  stages:
    - name: one
      spec: {model: {uri: m}, dataset: clips, sft: {task: Judge, steps: 2}}
    - name: two
      spec: {model: {fromStage: one}, dataset: clips, sft: {task: Judge, steps: 2}}
"""
RECIPE = ResourceId("TrainingPipeline", "recipe")
ONE = """
kind: TrainingStage
metadata: {name: recipe-one}
spec: {model: {uri: m}, dataset: clips, sft: {task: Judge, steps: 7}}
"""


def test_a_pipeline_makes_its_stages_and_owns_them() -> None:
    found = decided(seen(manifests=PIPELINE), RECIPE)
    assert names(found.create) == ["TrainingStage recipe-one", "TrainingStage recipe-two"]
    one, two = found.create
    assert one["metadata"]["ownerReferences"][0]["uid"] == "uid-recipe"
    assert one["metadata"]["namespace"] == "team"
    assert two["spec"]["model"] == {"fromStage": "recipe-one"}
    assert two["metadata"]["annotations"] == {"assay.dev/after": "recipe-one"}


@pytest.mark.parametrize(("uid", "replaced"), [("uid-recipe", True), ("uid-of-another", False)])
def test_a_pipeline_replaces_the_spec_of_stages_that_it_owns(uid: str, replaced: bool) -> None:
    world = seen(manifests=f"{PIPELINE}---{ONE}")
    raw: dict[str, Any] = world.raw[ResourceId("TrainingStage", "recipe-one")]
    raw["metadata"]["ownerReferences"] = [{"uid": uid}]
    found = decided(world, RECIPE)
    assert names(found.create) == ["TrainingStage recipe-two"]
    assert [m["spec"]["sft"] for m in found.replace] == [{"task": "Judge", "steps": 2}] * replaced
    assert all(m["metadata"]["resourceVersion"] == "1" for m in found.replace)


def test_an_exit_code_survives_its_pod() -> None:
    over = seen(
        child(status=conditions("Failed")), pod(phase="Failed", **ended(2)), manifests=SUPERVISED
    )
    (kept,) = decided(over).status.model_dump(by_alias=True)["attempts"]
    status = {"attempt": 1, "attempts": [{**kept, "endedAt": times(0)}]}
    found = decided(seen(manifests=SUPERVISED, alone=status))
    assert (reason(found), found.create) == (Reason.INPUT_REFUSED, ())
