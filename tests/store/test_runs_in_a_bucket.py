"""The recipe's first stages with everything in a bucket, as `assay run --store s3://...` has it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from object_server import ObjectServer

from assay_data.store import open_store

RECIPE = Path(__file__).parents[2] / "manifests/recipes/busterx-plusplus/tiny"
SMALL = {
    "Dataset/videos.spec.source.synthetic.numVideos": 16,
    # Long enough to answer in the format: RL that finds nothing to learn from does not succeed.
    "TrainingStage/base.spec.sft.steps": 50,
    "TrainingStage/base.spec.sft.examplesPerStep": 8,
    "TrainingStage/base.spec.sft.optimizer.learningRate": 0.005,
    "TrainingStage/base.spec.sft.optimizer.warmupSteps": 5,
    "TrainingStage/base.spec.checkpoint.every": 25,
    "TrainingStage/foundation.spec.rl.steps": 1,
    "TrainingStage/foundation.spec.rl.promptsPerStep": 2,
    "TrainingStage/foundation.spec.rl.groupSize": 4,
    "TrainingStage/foundation.spec.rl.validation.maxClips": 2,
}


def assay(*arguments: str, expected: int = 0) -> str:
    """Run the command line; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "assay_trainer.cli.main", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert done.returncode == expected, done.stderr[-3000:]
    return done.stdout


@pytest.mark.engine
@pytest.mark.parametrize("server", ["minio"], indirect=True)
def test_stages_run_resume_and_are_reported_with_everything_in_a_bucket(
    server: ObjectServer, bucket: str, tmp_path: Path
) -> None:
    url = f"{bucket}/runs/one"
    files = [f for name in ("00", "10", "20") for f in RECIPE.glob(f"{name}-*.yaml")]
    recipe = [argument for file in files for argument in ("-f", str(file))]
    recipe += [
        argument for path, value in SMALL.items() for argument in ("--set", f"{path}={value}")
    ]
    result = json.loads(assay("run", *recipe, "--store", url, "--json"))
    assert {r["state"] for r in result["resources"]} == {"Succeeded"}

    store = open_store(url)
    keys = store.list()
    for expected in (
        "datasets/videos/manifest.json",
        "stages/base/checkpoints/step-000050/manifest.json",
        "stages/base/model/manifest.json",
        "stages/base/logs/attempt-1.log",
        "stages/foundation/rollouts/step-000001.parquet",
        "stages/foundation/completion.json",
    ):
        assert expected in keys
    assert any(key.startswith("stages/base/tensorboard/events") for key in keys)
    assert not any(key.startswith("locks/") for key in keys), "a lease was left"
    store.verify("stages/foundation/model")

    again = json.loads(assay("run", *recipe, "--store", url, "--json"))
    assert [r["seconds"] for r in again["resources"]] == [None] * len(files)
    assert "Succeeded (Completed)" in assay("explain", *recipe, "--store", url)
    page = tmp_path / "report.html"
    assay("report", url, "--out", str(page))
    assert "foundation" in page.read_text()
