"""Evaluations that a schedule runs again and again: CronJobs."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from played_workloads import Player

pytestmark = pytest.mark.usefixtures("operator")
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
    assert shown[0].split() == ["NAME", "REASON", "THINK", "NOTHINK", "SCHEDULE", "AGE"]
    assert shown[1].split()[:3] == ["nightly", "Scheduled", "0.8125"]


def test_a_scheduled_run_is_left_alone_and_another_schedule_replaces_the_cronjob(
    player: Player, kubectl: Kubectl
) -> None:
    player.finish("Dataset", "clips")
    spec = {"model": {"uri": "s3://models/detector"}, "dataset": "clips"}
    player.apply("Evaluation", "nightly", {**spec, "schedule": "0 3 * * *"})
    first = wait_for_schedule(player, "0 3 * * *")
    made = kubectl(
        *("create", "job", "run-now", "--from=cronjob/evaluation-nightly"),
        *("--namespace", player.namespace),
    )
    assert made.returncode == 0, made.stderr
    run = player.wait_for_job("nightly")
    assert run["metadata"]["name"] == "run-now"
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
