"""Stages in processes of their own, killed by SIGKILL at moments that nobody chose."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from assay_data.store import open_store
from assay_trainer.metrics_log import read_metrics

DEADLINE_SECONDS = 300


def finish(run_stage, job) -> None:
    with run_stage(job) as process:
        log = process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert process.returncode == 0, log


def kill_after(run_stage, job, step: int, more_seconds: float) -> None:
    """Start the stage and kill all of its processes somewhat after a step's numbers are there."""
    awaited = Path(job.output, "metrics", f"step-{step:06d}.json")
    deadline = time.monotonic() + DEADLINE_SECONDS
    with run_stage(job) as process:
        while not awaited.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(more_seconds)
        os.killpg(process.pid, signal.SIGKILL)
        log = process.communicate()[0]
    assert awaited.exists(), log


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
    def job(output: Path):
        spec = {**sft(steps=6), "checkpoint": {"every": 1, "keep": 1}}
        return make_orders(dataset, scratch_model)(output, spec)

    return job


def test_supervised_training_ends_the_same_however_often_it_is_killed(
    run_stage, sft_job, tmp_path: Path
) -> None:
    finish(run_stage, sft_job(tmp_path / "undisturbed"))
    moments = random.Random(0)

    killed = sft_job(tmp_path / "killed")
    for step in (1, 2, 4):
        kill_after(run_stage, killed, step, moments.uniform(0, 0.3))
    assert not (tmp_path / "killed" / "completion.json").exists()
    finish(run_stage, killed)

    assert_same_result(tmp_path / "killed", tmp_path / "undisturbed")
    assert sorted(trace(tmp_path / "killed")) == [1, 2, 3, 4, 5, 6]


def test_reinforcement_learning_ends_the_same_when_killed_twice(
    run_stage, make_orders, dataset, speaking_model, rl, tmp_path: Path
) -> None:
    orders = make_orders(dataset, speaking_model)
    spec = {**rl(), "checkpoint": {"every": 1, "keep": 1}}
    undisturbed, killed = (orders(tmp_path / name, spec) for name in ("undisturbed", "killed"))
    finish(run_stage, undisturbed)

    moments = random.Random(1)
    for step in (1, 2):
        kill_after(run_stage, killed, step, moments.uniform(0, 0.5))
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
