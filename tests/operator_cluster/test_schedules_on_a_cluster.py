"""Evaluations that a schedule runs again and again: CronJobs. Their pods are played."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from played_workloads import Player

from assay_api import Completion, Evaluation
from assay_api.digest import evaluation_digest
from assay_api.layout import ResourceId

pytestmark = pytest.mark.usefixtures("operator")
COLUMNS = ["NAME", "REASON", "THINK", "NOTHINK", "STEP", "SCHEDULE", "AGE"]
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


def cron_job(player: Player) -> Any:
    return player.api.find("batch/v1", "CronJob", "evaluation-nightly", player.namespace)


def wait_for_schedule(player: Player, schedule: str) -> Any:
    def there() -> Any:
        found = cron_job(player)
        return found if found and found["spec"]["schedule"] == schedule else None

    return player.api.wait(f"a CronJob at {schedule}", there)


def test_a_schedule_becomes_a_cronjob_and_its_newest_result_is_shown(
    player: Player, kubectl: Kubectl
) -> None:
    player.finish("Dataset", "clips")
    player.finish("Evaluation", "nightly", **{"accuracy/think": 0.8125})
    spec = {"model": {"uri": "s3://models/detector"}, "dataset": "clips"}
    player.apply("Evaluation", "nightly", {**spec, "schedule": "30 3 * * MON-FRI"})
    made = wait_for_schedule(player, "30 3 * * MON-FRI")
    assert made["spec"]["timeZone"] == "Etc/UTC"
    assert made["spec"]["concurrencyPolicy"] == "Forbid"
    pod = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    player.wait_for_reason("Evaluation", "nightly", "Scheduled")
    shown = kubectl("get", "teval", "--namespace", player.namespace).stdout.splitlines()
    assert shown[0].split() == COLUMNS
    assert shown[1].split()[:3] == ["nightly", "Scheduled", "0.8125"]


def test_a_schedule_watches_a_stage_while_it_trains_and_afterwards(
    player: Player, kubectl: Kubectl
) -> None:
    spec = {"model": {"fromStage": "sft"}, "dataset": "clips", "schedule": "0 */6 * * *"}
    newest = player_result(spec, "step-20", **{"accuracy/think": 0.625, "step": 20})
    player.write(ResourceId("Evaluation", "nightly").newest_key, newest)
    player.apply_stage("sft", gate=[{"evaluation": "other", "minAccuracy": 0.5}])
    player.apply("Evaluation", "nightly", spec)
    # Its stage has not even begun.
    made = wait_for_schedule(player, "0 */6 * * *")
    shown = player.wait_for_reason("Evaluation", "nightly", "Scheduled")["status"]
    assert (shown["step"], shown["modelDigest"]) == (20, "step-20")
    row = kubectl("get", "teval", "--namespace", player.namespace).stdout.splitlines()[1]
    assert row.split()[:4] == ["nightly", "Scheduled", "0.625", "20"]
    run = fire(player, kubectl, "run-early")
    watched = player.orders(run)["watched"]
    assert watched["url"].endswith(f"/{player.namespace}/stages/sft")
    assert watched["start"]["model"]["uri"] == "s3://models/base"
    # Trained to its end, it is the same schedule with the same orders.
    player.change("TrainingStage", "sft", {"gate": None})
    player.succeed(player.wait_for_job("sft"))
    player.wait_for_reason("TrainingStage", "sft", "Completed")
    player.apply_stage("bystander")
    player.wait_for_job("bystander")
    assert cron_job(player)["metadata"]["uid"] == made["metadata"]["uid"]
    assert player.reason("Evaluation", "nightly") == "Scheduled"
    # What was found out of a checkpoint opens no gate.
    player.apply_stage("gated", gate=[{"evaluation": "nightly", "minAccuracy": 0.5}])
    player.wait_for_reason("TrainingStage", "gated", "GateNotPassed")
    assert player.message("TrainingStage", "gated") == (
        "Evaluation/nightly has no result of the finished model yet; its newest is of step 20"
    )


def player_result(spec: Any, model: str, **summary: Any) -> Any:
    """Return what a scheduled run writes of the newest result."""
    written = {"metadata": {"name": "nightly"}, "spec": spec}
    digest = evaluation_digest(Evaluation.model_validate(written).spec, model, "digest-of-clips")
    found = Completion(spec_digest=digest, digest=model, result="results/x.json", summary=summary)
    return found.model_dump(mode="json", by_alias=True)


def fire(player: Player, kubectl: Kubectl, name: str) -> Any:
    """Start a run now, as the schedule does when it is due."""
    made = kubectl(
        *("create", "job", name, "--from=cronjob/evaluation-nightly"),
        *("--namespace", player.namespace),
    )
    assert made.returncode == 0, made.stderr
    run = player.wait_for_job("nightly")
    assert run["metadata"]["name"] == name
    return run


def test_a_scheduled_run_is_left_alone_and_another_schedule_replaces_the_cronjob(
    player: Player, kubectl: Kubectl
) -> None:
    player.finish("Dataset", "clips")
    spec = {"model": {"uri": "s3://models/detector"}, "dataset": "clips"}
    player.apply("Evaluation", "nightly", {**spec, "schedule": "0 3 * * *"})
    first = wait_for_schedule(player, "0 3 * * *")
    run = fire(player, kubectl, "run-now")
    assert player.orders(run)["evaluation"]["metadata"]["name"] == "nightly"
    # Looks that change nothing leave both as they are.
    player.apply_stage("bystander")
    player.wait_for_job("bystander")
    assert cron_job(player)["metadata"]["uid"] == first["metadata"]["uid"]
    assert player.api.get("batch/v1", "Job", "run-now", player.namespace)
    player.change("Evaluation", "nightly", {"schedule": "0 4 * * *"})
    second = wait_for_schedule(player, "0 4 * * *")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    # Without a schedule it is evaluated once.
    player.change("Evaluation", "nightly", {"schedule": None})
    player.api.wait(
        "the schedule's run is gone, and one of its own is there",
        lambda: (
            [j["metadata"]["name"] for j in player.jobs("nightly")] == ["evaluation-nightly-a1"]
        ),
    )
    player.succeed(player.wait_for_job("nightly"))
    player.wait_for_reason("Evaluation", "nightly", "Completed")
    assert cron_job(player) is None
