"""`assay render`: what it prints, and how it refuses."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ASSAY = [sys.executable, "-m", "assay_trainer.cli.main", "render"]
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "manifests/recipes/busterx-plusplus"
Run = Callable[..., "subprocess.CompletedProcess[str]"]

STAGE = """
kind: TrainingStage
metadata: {name: stage}
spec:
  model: {uri: s3://m}
  dataset: clips
  sft: {task: T, steps: 1}
  placement: {pool: POOL}
"""


@pytest.fixture
def render() -> Run:
    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [*ASSAY, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "stage.yaml"
        path.write_text(text)
        return path

    return write


def test_a_recipe_is_rendered_whole(render: Run) -> None:
    done = render("-f", RECIPE)
    assert (done.returncode, done.stderr) == (0, "")
    found = [(m["kind"], m["metadata"]["name"]) for m in yaml.safe_load_all(done.stdout)]
    jobs = [f for f in found if f[0] not in ("ConfigMap", "NetworkPolicy", "Service")]
    assert jobs == [
        ("Job", "dataset-genbuster-a1"),
        ("RayJob", "foundation-a1"),
        ("RayJob", "fusion-a1"),
        ("PyTorchJob", "fusion-a2"),
        ("Deployment", "judge-sophiavl"),
        ("RayJob", "advanced-a1"),
        ("Job", "evaluation-held-out-a1"),
    ]


def test_what_is_printed_names_no_owner_that_nobody_knows(render: Run) -> None:
    done = render("-f", RECIPE)
    manifests: list[dict[str, Any]] = list(yaml.safe_load_all(done.stdout))
    assert all("ownerReferences" not in m["metadata"] for m in manifests)
    assert "&id" not in done.stdout


def test_a_pipeline_is_rendered_as_its_stages(render: Run, manifest: Callable[[str], Path]) -> None:
    text = """
kind: TrainingPipeline
metadata: {name: busterx}
spec:
  stages:
    - name: one
      spec: {model: {uri: s3://m}, dataset: clips, sft: {task: T, steps: 1}}
    - name: two
      spec:
        model: {fromStage: one}
        dataset: clips
        rl: {steps: 1}
        rewards: [{type: Accuracy}]
"""
    done = render("-f", manifest(text))
    assert done.returncode == 0, done.stderr
    found = [(m["kind"], m["metadata"]["name"]) for m in yaml.safe_load_all(done.stdout)]
    assert [f for f in found if f[0].endswith("Job")] == [
        ("PyTorchJob", "busterx-one-a1"),
        ("RayJob", "busterx-two-a1"),
    ]


def test_a_value_can_be_set(render: Run) -> None:
    done = render("-f", RECIPE, "--set", "TrainingStage/fusion.spec.placement.learners=2")
    jobs = [m for m in yaml.safe_load_all(done.stdout) if m["kind"] == "PyTorchJob"]
    assert [job["spec"]["nprocPerNode"] for job in jobs] == ["2"]


def test_an_unknown_pool_is_refused_with_the_nearest_one(
    render: Run, manifest: Callable[[str], Path]
) -> None:
    done = render("-f", manifest(STAGE.replace("POOL", "cpus")))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "assay: TrainingStage/stage: field spec.placement.pool: no node pool 'cpus'; there are: "
        "cpu, default; did you mean cpu?\n"
    )


def test_a_broken_rule_is_refused(render: Run, manifest: Callable[[str], Path]) -> None:
    text = STAGE.replace("POOL", "default")
    text += "  podTemplate: {env: [{name: WANDB_API_KEY, value: abc}]}\n"
    done = render("-f", manifest(text))
    assert (done.returncode, done.stdout) == (2, "")
    assert "PyTorchJob/stage-a1: field spec.pytorchReplicaSpecs.Master" in done.stderr
    assert "env[WANDB_API_KEY]: got '...', a secret is mounted" in done.stderr
    assert "abc" not in done.stderr


def test_a_reward_model_whose_manifest_is_missing_is_asked_for(
    render: Run, manifest: Callable[[str], Path]
) -> None:
    text = STAGE.replace("POOL", "default").replace(
        "sft: {task: T, steps: 1}",
        "rl: {steps: 1}\n  rewards: [{type: Thinking, rewardModel: sophia}]",
    )
    done = render("-f", manifest(text))
    assert done.returncode == 2
    assert "field spec.rewards[0].rewardModel: no RewardModel named 'sophia'" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: "),
        ("", ": must hold one platform, found 0 documents"),
        ("store: {url: s3://b}\nimages: {trainer: a}\n", ": field images.data: is required"),
        (
            "store: {url: s3://b}\nimages: {trainer: a, data: b}\n"
            "nodePools: {default: {gpuPerNode: 8}}\n",
            ": field nodePools.default.gpuPerNode: unknown field; did you mean gpusPerNode?",
        ),
        (
            "store: {url: s3://b}\nimages: {trainer: a, data: b}\nnodePools: {gpu: {nodes: 1}}\n",
            "cpuPool is 'default', nodePools has gpu",
        ),
    ],
)
def test_a_platform_that_is_wrong_is_refused(
    text: str | None, message: str, render: Run, tmp_path: Path, manifest: Callable[[str], Path]
) -> None:
    path = tmp_path / "pools.yaml"
    if text is not None:
        path.write_text(text)
    done = render("-f", manifest(STAGE.replace("POOL", "default")), "--pools", path)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert message in done.stderr


def test_nothing_heavy_is_loaded() -> None:
    program = (
        "import sys, assay_trainer.cli.main as cli\n"
        f"sys.argv = ['assay', 'render', '-f', {str(RECIPE)!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = ('torch', 'vllm', 'ray', 'transformers', 'pyarrow', 'av', 'kopf')\n"
        "print(*(name for name in heavy if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""
