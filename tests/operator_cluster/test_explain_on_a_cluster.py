"""`assay explain KIND/NAME` against a real API server, with the operator and its workloads."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from operator_process import OperatorProcess
from played_workloads import Player
from pod_behaviours import Ends, Waits

Explain = Callable[..., "subprocess.CompletedProcess[str]"]
LABELS = {"assay.dev/kind": "TrainingStage"}


@pytest.fixture
def explain(control_plane: ControlPlane, player: Player) -> Explain:
    """Run the command as the cluster's admin, in the player's namespace."""

    def run(*arguments: str, kubeconfig: Path = control_plane.kubeconfig) -> Any:
        command = [sys.executable, "-m", "assay_trainer.cli.main", "explain"]
        return subprocess.run(
            [*command, *arguments, "--namespace", player.namespace],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def stage(name: str, dataset: str = "videos", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrainingStage",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": "s3://models/tiny"},
            "dataset": dataset,
            "prompt": {"question": "real or fake?"},
            "sft": {"steps": 40},
            **spec,
        },
    }


def dataset(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": name},
        "spec": {"source": {"folder": {"uri": "s3://sources/videos"}}},
    }


@pytest.fixture
def apply(player: Player) -> Callable[..., None]:
    """Apply resources in the player's namespace."""

    def run(*manifests: dict[str, Any]) -> None:
        for manifest in manifests:
            metadata = {**manifest["metadata"], "namespace": player.namespace}
            player.api.create({**manifest, "metadata": metadata})

    return run


def test_what_holds_up_or_ended_a_stage_is_told_with_what_to_do(
    explain: Explain, apply: Callable[..., None], operator: OperatorProcess, player: Player
) -> None:
    namespace = player.namespace
    for name, behaviour in (
        ("pulling", Waits()),
        ("broken", Ends(exit_code=1, message="reading shard 3\nValueError: no rows left")),
    ):
        labels = {**LABELS, "assay.dev/name": name}
        player.kubelet.when(behaviour, namespace, labels=labels)
    apply(dataset("videos"), dataset("others"))
    player.succeed(player.wait_for_job("videos"))
    apply(
        stage("pulling"),
        stage("broken", retry={"application": 0}),
        stage("big", placement={"pool": "gpu", "learners": 16}),
        stage("waiting", dataset="others"),
        stage("orphan", dataset="nowhere"),
    )
    player.wait_for_reason("TrainingStage", "pulling", "ImagePull")
    player.wait_for_reason("TrainingStage", "broken", "RetriesExhausted")
    player.wait_for_reason("TrainingStage", "big", "Unschedulable")
    player.wait_for_reason("TrainingStage", "waiting", "WaitingForDataset")
    player.wait_for_reason("TrainingStage", "orphan", "WaitingForDataset")
    player.wait_for_reason("Dataset", "others", "Running")

    for name in ("pulling", "broken", "big", "waiting", "orphan"):
        print(explain(f"tstage/{name}").stdout)
