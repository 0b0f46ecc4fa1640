"""Suspend, delete, apply again, and pipelines, on the real control plane."""

import subprocess
from collections.abc import Callable

import pytest
from played_workloads import API, SFT, Object, Player
from pod_behaviours import Waits

from assay_operator.children.owner import CHILD_SELECTOR
from assay_operator.policies.evidence import is_at_work

pytestmark = pytest.mark.usefixtures("operator")
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
MADE = (
    ("kubeflow.org/v1", "PyTorchJob"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
)
PIPELINE = {
    "stages": [
        {
            "name": "first",
            "spec": {"model": {"uri": "s3://models/base"}, "dataset": "clips", "sft": SFT},
        },
        {
            "name": "second",
            "spec": {"model": {"fromStage": "first"}, "dataset": "clips", "sft": SFT},
        },
    ]
}


def made_by_the_operator(player: Player) -> list[str]:
    return [
        f"{kind} {found['metadata']['name']}"
        for version, kind in MADE
        for found in player.api.items(version, kind, player.namespace, labelSelector=CHILD_SELECTOR)
    ]


def wait_for_work(player: Player, stage: str) -> Object:
    """Return the job of a stage's first attempt, once its own operator knows that it runs."""
    job = player.wait_for_job(stage)
    player.api.wait("its program runs", lambda: is_at_work(player.jobs(stage)[0]))
    return job


def no_pods(player: Player) -> bool:
    return not player.api.items("v1", "Pod", player.namespace)


@pytest.mark.parametrize("method", ["sft", "rl"])
def test_a_suspended_stage_saves_frees_its_pods_and_goes_on_as_a_new_attempt(
    player: Player, method: str
) -> None:
    methods = {"sft": {}, "rl": {"rl": {"steps": 40}, "rewards": [{"type": "Accuracy"}]}}
    player.apply_stage("stage", **methods[method])
    job = wait_for_work(player, "stage")
    player.progress("stage", 12)
    player.change("TrainingStage", "stage", {"suspend": True})
    player.wait_for_reason("TrainingStage", "stage", "Suspending")
    assert player.jobs("stage") and not no_pods(player)
    player.stop_as_asked(job, 13)
    stage = player.wait_for_reason("TrainingStage", "stage", "Suspended")
    assert stage["status"]["checkpoint"] == 13
    player.api.wait("the pods are gone", lambda: no_pods(player))
    player.api.wait("the child is gone", lambda: not player.jobs("stage"))
    player.change("TrainingStage", "stage", {"suspend": False})
    second = player.wait_for_job("stage", 2)
    # The request was to the first attempt only.
    assert player.stop_request(second) is None
    player.succeed(second)
    stage = player.wait_for_reason("TrainingStage", "stage", "Completed")
    # It was asked to stop: that is nobody's failure.
    (first,) = stage["status"]["attempts"]
    assert (first["step"], first["message"]) == (13, "saved a checkpoint of step 13 and stopped")
    assert not any(stage["status"]["failures"].values())


def test_what_does_not_stop_when_it_is_asked_is_deleted_after_a_while(player: Player) -> None:
    player.apply_stage("deaf")
    job = wait_for_work(player, "deaf")
    player.change("TrainingStage", "deaf", {"suspend": True})
    player.wait_for_reason("TrainingStage", "deaf", "Suspending")
    player.api.wait("it is asked", lambda: player.stop_request(job))
    player.let_wait(job, 590)
    assert player.reason("TrainingStage", "deaf") == "Suspending"
    stage = player.wait_for_reason("TrainingStage", "deaf", "Suspended")
    (first,) = stage["status"]["attempts"]
    assert first["message"] == "did not stop within 600 s and was deleted"
    assert first["message"] in player.message("TrainingStage", "deaf")
    player.api.wait("the pods are gone", lambda: no_pods(player))
    assert not any(stage["status"]["failures"].values())


def test_what_has_not_begun_is_deleted_at_once(player: Player) -> None:
    player.kubelet.when(Waits(), player.namespace)
    player.apply_stage("pending")
    player.wait_for_reason("TrainingStage", "pending", "ImagePull")
    player.change("TrainingStage", "pending", {"suspend": True})
    stage = player.wait_for_reason("TrainingStage", "pending", "Suspended")
    assert [r["message"] for r in stage["status"]["attempts"]] == ["stopped"]
    player.api.wait("the pods are gone", lambda: no_pods(player))


def test_a_deleted_stage_leaves_nothing_but_what_is_stored(player: Player) -> None:
    player.apply_stage("sft")
    job = player.wait_for_job("sft")
    player.succeed(job)
    done = player.wait_for_reason("TrainingStage", "sft", "Completed")
    assert made_by_the_operator(player)
    player.delete("TrainingStage", "sft")
    player.api.wait("everything is gone", lambda: not made_by_the_operator(player))
    # Applied again, it is what it was: the proof is in the store, and no new child is made.
    player.apply_stage("sft")
    again = player.wait_for_reason("TrainingStage", "sft", "Completed")
    assert again["status"]["modelDigest"] == done["status"]["modelDigest"] == "digest-of-sft"
    assert again["status"].get("attempt", 0) == 0
    assert not player.jobs("sft")


def test_a_stage_that_was_deleted_while_it_ran_starts_anew_only_when_its_pods_are_gone(
    player: Player,
) -> None:
    player.apply_stage("sft")
    first = player.wait_for_job("sft")
    player.delete("TrainingStage", "sft")
    player.apply_stage("sft")

    def another() -> bool:
        return any(j["metadata"]["uid"] != first["metadata"]["uid"] for j in player.jobs("sft"))

    player.api.wait("a new child", another, seconds=60)
    pods = player.api.items("v1", "Pod", player.namespace)
    old = [
        p for p in pods if p["metadata"]["ownerReferences"][0]["uid"] == first["metadata"]["uid"]
    ]
    assert not old


def test_a_pipelines_stages_run_in_order_and_kubectl_shows_how_far(
    player: Player, kubectl: Kubectl
) -> None:
    player.finish("Dataset", "clips")
    player.apply("TrainingPipeline", "recipe", PIPELINE)
    first = player.wait_for_job("recipe-first")
    player.wait_for_reason("TrainingStage", "recipe-second", "WaitingForStage")
    assert not player.jobs("recipe-second")
    player.wait_for_reason("TrainingPipeline", "recipe", "Running")
    player.succeed(first)
    second = player.wait_for_job("recipe-second")
    orders = player.orders(second)
    assert orders["model"]["digest"] == "digest-of-recipe-first"
    player.succeed(second)
    player.wait_for_reason("TrainingPipeline", "recipe", "Completed")
    stage = player.resource("TrainingStage", "recipe-second")
    assert stage["status"]["modelDigest"] == "digest-of-recipe-second"
    shown = kubectl("get", "tpipe,tstage", "--namespace", player.namespace).stdout
    lines = [line.split() for line in shown.splitlines() if line]
    assert [line[:-1] for line in lines] == [
        ["NAME", "STAGE", "SUCCEEDED", "REASON"],
        ["trainingpipeline.assay.dev/recipe", "2/2", "Completed"],
        ["NAME", "ATTEMPT", "STEP", "TOTAL", "REASON", "CHECKPOINT"],
        ["trainingstage.assay.dev/recipe-first", "1", "40", "40", "Completed"],
        ["trainingstage.assay.dev/recipe-second", "1", "40", "40", "Completed"],
    ]


def test_a_deleted_pipeline_takes_its_stages_and_their_children_with_it(player: Player) -> None:
    player.finish("Dataset", "clips")
    player.apply("TrainingPipeline", "recipe", PIPELINE)
    player.wait_for_job("recipe-first")
    player.delete("TrainingPipeline", "recipe")

    def nothing_left() -> bool:
        stages = player.api.items(API, "TrainingStage", player.namespace)
        return not stages and not made_by_the_operator(player)

    player.api.wait("everything is gone", nothing_left)
