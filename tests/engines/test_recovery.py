"""RL with several learners, whose processes and engines die or keep the others waiting."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ray_processes import ray_processes

PATIENT = Path(__file__).with_name("patient_rank.py")
DEADLINE_SECONDS = 600
STEPS = 5


def test_ranks_wait_for_what_the_leader_says_longer_than_for_each_others_gradients(
    orders, rl, tmp_path: Path
) -> None:
    job = tmp_path / "orders.json"
    job.write_text(orders(tmp_path / "stage", rl()).model_dump_json(by_alias=True))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, str(PATIENT), str(job), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert (tmp_path / "gave-up").exists(), done.stderr
    seconds = float((tmp_path / "gave-up").read_text().split()[0])
    assert 8 < seconds < 40


def engines(stage: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of the stage's rollout engines, oldest first."""
    return ray_processes(psutil.Process(stage.pid), "ray::RolloutEngine")


def learners(stage: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of the stage's learners, oldest first."""
    return ray_processes(psutil.Process(stage.pid), "RayTrainWorker")


def model_digest(output: Path) -> str:
    return hashlib.sha256((output / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def after_step(tmp_path: Path) -> Callable[[subprocess.Popen[str], Path, int], None]:
    """Wait until the numbers of a step are there."""

    def wait(stage: subprocess.Popen[str], output: Path, step: int) -> None:
        awaited = output / "metrics" / f"step-{step:06d}.json"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not awaited.exists():
            assert stage.poll() is None, stage.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.mark.release
def test_an_engine_then_a_learner_then_an_engine_killed_end_in_the_same_weights(
    run_stage, make_orders, dataset, speaking_model, rl, after_step, tmp_path: Path
) -> None:
    """Two learners and two engines; the last engine that is killed had replaced the first."""
    orders = make_orders(dataset, speaking_model)
    spec = {
        **rl(steps=STEPS, validation={"every": 5, "maxClips": 2}),
        "checkpoint": {"every": 1, "keep": 1},
        "placement": {"learners": 2, "rollouts": 2},
    }
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    with run_stage(orders(undisturbed, spec)) as stage:
        log = stage.communicate(timeout=DEADLINE_SECONDS)[0]
        assert stage.returncode == 0, log

    with run_stage(orders(disturbed, spec)) as stage:
        after_step(stage, disturbed, 1)
        first, second = engines(stage)
        first.kill()
        after_step(stage, disturbed, 2)
        replaced = engines(stage)[-1]
        assert replaced not in (first, second)
        learners(stage)[0].kill()
        after_step(stage, disturbed, 3)
        assert engines(stage)[-1] == replaced, "it outlives the learner that had it made"
        replaced.kill()
        log = stage.communicate(timeout=DEADLINE_SECONDS)[0]
        assert stage.returncode == 0, log

    assert log.count("is replaced") == 2, log
    assert model_digest(disturbed) == model_digest(undisturbed)
    proofs = [
        json.loads((path / "completion.json").read_text()) for path in (disturbed, undisturbed)
    ]
    assert proofs[0]["digest"] == proofs[1]["digest"]
