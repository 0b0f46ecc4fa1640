"""Failures of RL stages on the real KubeRay."""

import time
from typing import Any

import pytest
from played_workloads import Player
from pod_behaviours import Ends

pytestmark = pytest.mark.usefixtures("operator")
RL: dict[str, Any] = {"rl": {"steps": 40}, "rewards": [{"type": "Accuracy"}]}


def test_a_failed_ray_job_is_the_stages_own_error(player: Player) -> None:
    player.apply_stage("rl", **RL)
    player.end(player.wait_for_job("rl"), Ends(exit_code=1))
    player.wait_for_reason("TrainingStage", "rl", "RetriesExhausted")
    assert player.attempts("rl") == [(1, "application", 1)]


def test_a_ray_head_that_was_made_anew_ends_the_attempt(player: Player) -> None:
    player.apply_stage("rl", **RL)
    job = player.wait_for_job("rl")
    player.api.wait(
        "KubeRay knows that the job runs",
        lambda: player.jobs("rl")[0]["status"].get("jobStatus") == "RUNNING",
    )
    (head,) = (p for p in player.pods(job) if "-head-" in p["metadata"]["name"])
    # Times have whole seconds: a pod of the same second was there from the start.
    time.sleep(1.5)
    player.api.delete(head, grace_seconds=0)
    second = player.wait_for_job("rl", 2)
    assert player.attempts("rl") == [(1, "infrastructure", None)]
    assert [j["metadata"]["name"] for j in player.jobs("rl")] == [second["metadata"]["name"]]


def test_a_ray_job_that_somebody_deleted_is_an_accident(player: Player) -> None:
    player.apply_stage("rl", **RL)
    job = player.wait_for_job("rl")
    player.wait_for_reason("TrainingStage", "rl", "Running")
    player.api.delete(job)
    player.succeed(player.wait_for_job("rl", 2))
    player.wait_for_reason("TrainingStage", "rl", "Completed")
    assert player.attempts("rl") == [(1, "infrastructure", None)]
