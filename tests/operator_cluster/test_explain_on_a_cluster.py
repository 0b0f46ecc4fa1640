"""`assay explain KIND/NAME` against a real API server, with the operator and its workloads."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_api import ClusterApi, write_kubeconfig
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
            [*command, "--namespace", player.namespace, *arguments],
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
            "sft": {"task": "Answer", "steps": 40},
            **spec,
        },
    }


def rl_stage(name: str) -> dict[str, Any]:
    manifest = stage(name, rl={"steps": 2}, rewards=[{"type": "Format"}, {"type": "Accuracy"}])
    del manifest["spec"]["sft"]
    return manifest


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


@pytest.fixture
def troubled(apply: Callable[..., None], operator: OperatorProcess, player: Player) -> str:
    """Stages that are held up, ended or wait, each in its own way; return their namespace."""
    for name, behaviour in (
        ("pulling", Waits()),
        ("broken", Ends(exit_code=1, message="reading shard 3\nValueError: no rows left")),
    ):
        labels = {**LABELS, "assay.dev/name": name}
        player.kubelet.when(behaviour, player.namespace, labels=labels)
    apply(dataset("videos"), dataset("others"))
    player.succeed(player.wait_for_job("videos"))
    apply(
        stage("pulling"),
        stage("broken", retry={"application": 0}),
        stage("homeless", podTemplate={"nodeSelector": {"disk": "none"}}),
        stage("waiting", dataset="others"),
        stage("orphan", dataset="nowhere"),
        rl_stage("sampling"),
    )
    player.wait_for_reason("TrainingStage", "pulling", "ImagePull")
    player.wait_for_reason("TrainingStage", "broken", "RetriesExhausted")
    player.wait_for_reason("TrainingStage", "homeless", "Unschedulable")
    player.wait_for_reason("TrainingStage", "waiting", "WaitingForDataset")
    player.wait_for_reason("TrainingStage", "orphan", "WaitingForDataset")
    player.wait_for_reason("Dataset", "others", "Running")
    player.wait_for_job("sampling")
    return player.namespace


def test_what_holds_up_or_ended_a_stage_is_told_with_what_to_do(
    explain: Explain, troubled: str
) -> None:
    namespace = troubled
    pulling = explain("tstage/pulling").stdout
    assert f"TrainingStage/pulling: Blocked (ImagePull) in namespace {namespace}\n" in pulling
    assert "  to do: compare the image's name and tag with what was pushed" in pulling
    assert "    pod pulling-a1-master-0: Pending: pytorch waits: ImagePullBackOff: " in pulling
    assert f"  more: kubectl describe --namespace {namespace} pod pulling-a1-master-0" in pulling

    broken = explain("trainingstages/broken").stdout
    log = f"kubectl logs --namespace {namespace} broken-a1-master-0 --container pytorch"
    assert "TrainingStage/broken: Failed (RetriesExhausted)" in broken
    assert "      | reading shard 3\n      | ValueError: no rows left\n" in broken
    assert f"  log: {log}\n" in broken
    assert f"`{log}` shows why" in broken
    assert "    1        application  1          0     " in broken
    assert "PyTorchJobFailed PyTorchJob/broken-a1: " in broken

    sampling = json.loads(explain("tstage/sampling", "--json").stdout)
    assert (sampling["state"], sampling["child"]) == ("Running", "RayJob/sampling-a1")
    assert sampling["command"].endswith(" --container ray-job-submitter")
    assert "RayCluster" in {event["about"].partition("/")[0] for event in sampling["events"]}

    homeless = explain("TrainingStage/homeless").stdout
    assert "TrainingStage/homeless: Blocked (Unschedulable)" in homeless
    assert "Warning FailedScheduling Pod/homeless-a1-master-0: 0/2 nodes are available" in homeless

    waiting = explain("tstage/waiting").stdout
    assert "  waits for:\n    Dataset/others: Running (Running): attempt 1 runs\n" in waiting
    orphan = json.loads(explain("tstage/orphan", "--json").stdout)
    assert orphan["reason"] == "WaitingForDataset"
    assert orphan["advice"].startswith("apply the manifest of Dataset/nowhere: ")
    assert orphan["child"] is None and orphan["pods"] == []


def test_what_is_not_there_or_not_ours_to_see_is_said(
    explain: Explain,
    apply: Callable[..., None],
    operator: OperatorProcess,
    player: Player,
    control_plane: ControlPlane,
) -> None:
    apply(stage("foundation"))
    player.wait_for_reason("TrainingStage", "foundation", "WaitingForDataset")

    misspelled = explain("tstage/fundation")
    assert misspelled.returncode == 2
    assert misspelled.stderr == (
        f"assay: no TrainingStage named 'fundation' in namespace {player.namespace}; "
        "there are: foundation; did you mean foundation?\n"
    )
    elsewhere = explain("tstage/foundation", "--namespace", "default")
    assert elsewhere.returncode == 2
    assert f"one is in namespace {player.namespace}: give --namespace" in elsewhere.stderr

    nobody = control_plane.kubeconfig_of("default", player.namespace)
    forbidden = explain("tstage/foundation", kubeconfig=nobody)
    assert forbidden.returncode == 1
    assert 'cannot get resource "trainingstages" in API group "assay.dev"' in forbidden.stderr
    assert f"kubectl auth can-i get trainingstages.assay.dev -n {player.namespace}" in (
        forbidden.stderr
    )

    may_read_resources(player)
    player.api.wait(
        "the role holds", lambda: explain("tstage/foundation", kubeconfig=nobody).returncode == 0
    )
    partly = explain("tstage/foundation", kubeconfig=nobody).stdout
    assert "Blocked (WaitingForDataset)" in partly
    assert 'cannot list resource "pods" in API group ""' in partly

    broken = write_kubeconfig(
        control_plane.folder / "nowhere.kubeconfig",
        ClusterApi("https://127.0.0.1:9", control_plane.authority.certificate, token="none"),
    )
    nowhere = explain("tstage/foundation", kubeconfig=broken)
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("assay: the API server does not answer: ")
    assert len(nowhere.stderr.splitlines()) == 1


def may_read_resources(player: Player) -> None:
    """Let the namespace's default ServiceAccount read Assay's resources, and nothing else."""
    metadata = {"name": "reader", "namespace": player.namespace}
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["assay.dev"], "resources": ["*"], "verbs": ["get", "list"]}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    player.api.create(role)
    account = {"kind": "ServiceAccount", "name": "default", "namespace": player.namespace}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
        "subjects": [account],
    }
    player.api.create(binding)
