"""Stages in processes of their own, killed by SIGKILL at moments that nobody chose."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from wandb_file import wandb_history

from assay_data.store import open_store
from assay_trainer.metrics_log import read_metrics

DEADLINE_SECONDS = 300


def finish(run_stage, job) -> str:
    """Run the stage to its end; return its log."""
    with run_stage(job) as process:
        log = process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert process.returncode == 0, log
    return log


def kill_after(run_stage, job, key: str, more_seconds: float) -> None:
    """Start the stage and kill all of its processes somewhat after a file is there."""
    awaited = Path(job.output, key)
    deadline = time.monotonic() + DEADLINE_SECONDS
    with run_stage(job) as process:
        while not awaited.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(more_seconds)
        os.killpg(process.pid, signal.SIGKILL)
        log = process.communicate()[0]
    assert awaited.exists(), log


def numbers_of(step: int) -> str:
    return f"metrics/step-{step:06d}.json"


def trace(output: Path) -> dict[int, dict[str, float]]:
    """Return all numbers of all steps that are not times."""
    return {
        step: {name: value for name, value in numbers.items() if not name.startswith("time/")}
        for step, numbers in read_metrics(open_store(str(output))).items()
    }


def assert_same_result(output: Path, undisturbed: Path) -> None:
    ours, theirs = (load_file(path / "model/model.safetensors") for path in (output, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert trace(output) == trace(undisturbed)
    digests = [json.loads((path / "completion.json").read_text()) for path in (output, undisturbed)]
    assert digests[0]["digest"] == digests[1]["digest"]


@pytest.fixture(scope="module")
def sft_job(dataset, scratch_model, make_orders, sft):
    def job(output: Path, **more: Any):
        spec = {**sft(steps=4), "checkpoint": {"every": 1, "keep": 1}, **more}
        return make_orders(dataset, scratch_model)(output, spec)

    return job


def test_supervised_training_ends_the_same_however_often_it_is_killed(
    run_stage, sft_job, tmp_path: Path
) -> None:
    finish(run_stage, sft_job(tmp_path / "undisturbed"))
    moments = random.Random(0)

    killed = sft_job(tmp_path / "killed", tracking=[{"type": "Wandb"}])
    for step in (1, 3):
        kill_after(run_stage, killed, numbers_of(step), moments.uniform(0, 0.3))
    assert not (tmp_path / "killed" / "completion.json").exists()
    finish(run_stage, killed)

    assert_same_result(tmp_path / "killed", tmp_path / "undisturbed")
    numbers = trace(tmp_path / "killed")
    assert sorted(numbers) == [1, 2, 3, 4]
    told = wandb_history(tmp_path / "killed/tracking/wandb")
    assert [row["loss"] for row in told] == [numbers[step]["loss"] for step in range(1, 5)]


def test_reinforcement_learning_ends_the_same_when_killed(
    run_stage, make_orders, dataset, speaking_model, rl, tmp_path: Path
) -> None:
    orders = make_orders(dataset, speaking_model)
    spec = {**rl(), "checkpoint": {"every": 1, "keep": 1}}
    undisturbed, killed = (orders(tmp_path / name, spec) for name in ("undisturbed", "killed"))
    finish(run_stage, undisturbed)

    kill_after(run_stage, killed, numbers_of(1), random.Random(1).uniform(0, 0.5))
    finish(run_stage, killed)

    assert_same_result(tmp_path / "killed", tmp_path / "undisturbed")
    numbers = trace(tmp_path / "killed")
    assert sorted(numbers) == [0, 1, 2, 3]
    assert any("grad_norm" in step for step in numbers.values()), "nothing was learned from"
    assert max(step.get("logprob/max_difference", 0.0) for step in numbers.values()) < 1e-4
    for step in (1, 2, 3):
        name = f"rollouts/step-{step:06d}.parquet"
        tables = [pq.read_table(tmp_path / run / name) for run in ("killed", "undisturbed")]
        assert tables[0].equals(tables[1])


def test_a_fusion_stage_killed_while_it_samples_learns_from_the_same_samples(
    run_stage, make_orders, dataset, speaking_model, tmp_path: Path
) -> None:
    orders = make_orders(dataset, speaking_model)
    # Two clips at once: 256 completions are what an engine draws side by side.
    method = {"samplesPerClip": 128, "maxCompletionTokens": 24, "steps": 2, "examplesPerStep": 4}
    spec = {"fusion": {**method, "maxExamples": 16}, "checkpoint": {"every": 1, "keep": 1}}
    undisturbed, killed = (orders(tmp_path / name, spec) for name in ("undisturbed", "killed"))
    finish(run_stage, undisturbed)

    kill_after(run_stage, killed, "collection/chunk-000001.json", 0)
    chunks = list((tmp_path / "killed/collection").iterdir())
    assert len(chunks) >= 2 and not (tmp_path / "killed/collected.json").exists()
    log = finish(run_stage, killed)

    assert f"goes on after {2 * len(chunks)} clips of an earlier attempt" in log
    texts = [(tmp_path / run / "collected.json").read_text() for run in ("killed", "undisturbed")]
    assert texts[0] == texts[1]
    assert len(json.loads(texts[0])["samples"]) > 2
    assert_same_result(tmp_path / "killed", tmp_path / "undisturbed")
