"""The shipped recipe on a real control plane, with the real training-operator and KubeRay."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from operator_process import OperatorProcess
from played_workloads import Player

Kubectl = Callable[..., "CompletedProcess[str]"]


def test_the_recipe_runs_from_kubectl_apply_to_an_evaluated_model(
    root: Path, kubectl: Kubectl, operator: OperatorProcess, player: Player
) -> None:
    recipe = root / "manifests/recipes/busterx-plusplus/tiny"
    applied = kubectl("apply", "--namespace", player.namespace, "-f", recipe)
    assert applied.returncode == 0, applied.stderr
    for name, kind, attempt in (
        ("videos", "Job", 1),
        ("base", "PyTorchJob", 1),
        ("foundation", "RayJob", 1),
        ("judge-training", "PyTorchJob", 1),
        ("fusion", "RayJob", 1),
        ("fusion", "PyTorchJob", 2),
        ("advanced", "RayJob", 1),
        ("held-out", "Job", 1),
    ):
        job = player.wait_for_job(name, attempt)
        assert job["kind"] == kind
        player.succeed(job)
    player.wait_for_reason("Evaluation", "held-out", "Completed")
    shown = kubectl("get", "assay", "--namespace", player.namespace).stdout
    print(shown)
