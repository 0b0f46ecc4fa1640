"""Which process of an RL stage gets which GPU, on a machine that is told it has two."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLACES = Path(__file__).with_name("gpu_places.py")

Run = Callable[[int, int], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(orders, rl, tmp_path: Path) -> Run:
    """Run a stage of so many learners and rollouts on the GPUs 3 and 5 of a machine."""
    (tmp_path / "notes").mkdir()

    def start(learners: int, rollouts: int) -> "subprocess.CompletedProcess[str]":
        spec = rl() | {"placement": {"learners": learners, "rollouts": rollouts}}
        job = tmp_path / "orders.json"
        job.write_text(orders(tmp_path / "stage", spec).model_dump_json(by_alias=True))
        return subprocess.run(
            [sys.executable, str(PLACES), str(job), str(tmp_path / "notes")],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "3,5"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return start


def test_a_lone_learner_and_its_engine_have_a_gpu_each(run: Run, tmp_path: Path) -> None:
    done = run(1, 1)

    assert done.returncode == 0, done.stderr
    notes = sorted(path.read_text() for path in (tmp_path / "notes").iterdir())
    assert [note.split()[0] for note in notes] == ["engine", "learner"]
    assert {note.split(maxsplit=1)[1] for note in notes} == {"3 3", "5 5"}


def test_more_processes_than_gpus_are_refused_with_the_numbers(run: Run, tmp_path: Path) -> None:
    done = run(1, 2)

    assert done.returncode == 2, done.stderr
    assert "needs 3 GPUs at once (learners: 1, rollouts: 2, each of gpusPerRollout: 1)" in (
        done.stdout
    )
    assert "Ray has 2" in done.stdout
    assert not list((tmp_path / "notes").iterdir()), "nothing was started"
