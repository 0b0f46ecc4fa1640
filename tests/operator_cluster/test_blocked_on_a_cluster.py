"""Why something does not run: told by its status within seconds."""

from typing import Any

import pytest
from played_workloads import Player
from pod_behaviours import CrashLoops, Waits

pytestmark = pytest.mark.usefixtures("operator")
RL: dict[str, Any] = {"rl": {"steps": 40}, "rewards": [{"type": "Accuracy"}]}
JUDGED: dict[str, Any] = {
    "rl": {"steps": 40},
    "rewards": [{"type": "Accuracy"}, {"type": "Thinking", "rewardModel": "judge"}],
}


def blocked(player: Player, name: str, reason: str, kind: str = "TrainingStage") -> str:
    found = player.wait_for_reason(kind, name, reason)
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions["Blocked"] == "True"
    return player.message(kind, name)


def test_an_image_that_is_not_there_is_named(player: Player) -> None:
    player.kubelet.when(Waits("ImagePullBackOff", "not found"), player.namespace)
    player.apply_stage("sft")
    message = blocked(player, "sft", "ImagePull")
    assert "pod sft-a1-master-0, image assay-trainer:test: not found" in message


def test_pods_that_fit_no_node_are_told_in_the_schedulers_words(player: Player) -> None:
    player.apply_stage("sft", placement={"pool": "huge"})
    message = blocked(player, "sft", "Unschedulable")
    asked = "pod sft-a1-master-0 asks for cpu 500, memory 4500Gi: 0/2 nodes are available"
    assert message.startswith(asked)


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(player: Player) -> None:
    player.apply_stage("sft", placement={"pool": "gpus"})
    message = blocked(player, "sft", "PlacementRefused")
    assert "spec.placement.pool: no node pool 'gpus'; there are: default, gpu, huge" in message
    assert not player.jobs("sft")
    # Mended, it runs; no attempt was spent.
    player.change("TrainingStage", "sft", {"placement": {"pool": "gpu"}})
    assert player.wait_for_job("sft", 1)["metadata"]["name"] == "sft-a1"


def test_what_is_waited_for_is_named(player: Player) -> None:
    player.apply_stage("after", model={"fromStage": "before"})
    player.apply_stage("unfed", dataset="nowhere")
    place = f"s3://runs/main/{player.namespace}"
    assert blocked(player, "after", "WaitingForStage") == (
        f"TrainingStage/before is not finished in {place}; apply its manifest too"
    )
    assert blocked(player, "unfed", "WaitingForDataset") == (
        f"Dataset/nowhere is not finished in {place}; apply its manifest too"
    )
    player.apply("Evaluation", "held-out", {"model": {"fromStage": "after"}, "dataset": "clips"})
    assert blocked(player, "held-out", "WaitingForStage", "Evaluation") == (
        "TrainingStage/after has not finished yet"
    )


def test_a_gate_is_closed_until_its_evaluation_is_good_enough(player: Player) -> None:
    player.finish("Evaluation", "held-out", **{"accuracy/think": 0.5})
    player.apply_stage("sft", gate=[{"evaluation": "held-out", "minAccuracy": 0.7}])
    message = blocked(player, "sft", "GateNotPassed")
    assert "accuracy 0.500" in message
    assert "minAccuracy is 0.7" in message
    player.change(
        "TrainingStage", "sft", {"gate": [{"evaluation": "held-out", "minAccuracy": 0.4}]}
    )
    player.wait_for_job("sft")


def test_a_judge_that_crashes_again_and_again_holds_up_its_stage(player: Player) -> None:
    player.kubelet.when(CrashLoops(), player.namespace, "judge-judge-*")
    player.apply("RewardModel", "judge", {"model": {"uri": "s3://models/judge"}})
    player.apply_stage("rl", **JUDGED)
    blocked(player, "judge", "CrashLoop", "RewardModel")
    assert "judge" in blocked(player, "rl", "WaitingForRewardModel")
    assert not player.jobs("rl")


def test_a_quota_that_leaves_no_room_is_told(player: Player) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": player.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    player.api.create(quota)
    player.api.wait(
        "the quota holds",
        lambda: player.api.get("v1", "ResourceQuota", "none", player.namespace)["status"],
    )
    player.apply("RewardModel", "judge", {"model": {"uri": "s3://models/judge"}})
    player.apply_stage("judged", **JUDGED)
    player.apply_stage("rl", **RL)
    player.apply_stage("sft")
    assert "exceeded quota: none" in blocked(player, "judge", "QuotaExceeded", "RewardModel")
    assert "exceeded quota: none" in blocked(player, "rl", "QuotaExceeded")
    # A PyTorchJob does not tell; its events do.
    message = blocked(player, "sft", "NoPods")
    assert "is there quota left? `kubectl describe pytorchjob sft-a1` tells" in message
    assert player.attempts("sft") == []
