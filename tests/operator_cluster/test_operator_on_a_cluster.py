"""The shipped recipe on a real control plane, with the real training-operator and KubeRay."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from operator_process import OperatorProcess
from played_workloads import Player

Kubectl = Callable[..., "CompletedProcess[str]"]

PAPER = [
    ("genbuster", "Job", 1),
    ("foundation", "RayJob", 1),
    ("fusion", "RayJob", 1),
    ("fusion", "PyTorchJob", 2),
    ("advanced", "RayJob", 1),
    ("held-out", "Job", 1),
]
TINY = [
    ("videos", "Job", 1),
    ("base", "PyTorchJob", 1),
    ("foundation", "RayJob", 1),
    ("judge-training", "PyTorchJob", 1),
    *PAPER[2:],
]


@pytest.mark.parametrize(("folder", "course"), [(".", PAPER), ("tiny", TINY)])
def test_the_recipe_runs_from_kubectl_apply_to_an_evaluated_model(
    root: Path,
    kubectl: Kubectl,
    operator: OperatorProcess,
    player: Player,
    folder: str,
    course: list[tuple[str, str, int]],
) -> None:
    recipe = root / "manifests/recipes/busterx-plusplus" / folder
    applied = kubectl("apply", "--namespace", player.namespace, "-f", recipe)
    assert applied.returncode == 0, applied.stderr
    for name, kind, attempt in course:
        job = player.wait_for_job(name, attempt)
        assert job["kind"] == kind
        player.succeed(job)
    evaluation = player.wait_for_reason("Evaluation", "held-out", "Completed")
    assert evaluation["status"]["modelDigest"] == "digest-of-advanced"
    assert evaluation["status"]["accuracy"] == {"Think": 0.9}
    fusion = player.resource("TrainingStage", "fusion")["status"]
    assert (fusion["attempt"], fusion["modelDigest"]) == (2, "digest-of-fusion")
    shown = kubectl("get", "tstage,teval", "--namespace", player.namespace).stdout
    lines = [line.split() for line in shown.splitlines() if line]
    stages = dict.fromkeys(name for name, kind, _ in course if kind in ("RayJob", "PyTorchJob"))
    found = {line[0].partition("/")[2]: line[4] for line in lines if "trainingstage" in line[0]}
    assert found == dict.fromkeys(sorted(stages), "Completed")
    assert lines[0][:6] == ["NAME", "ATTEMPT", "STEP", "TOTAL", "REASON", "CHECKPOINT"]
