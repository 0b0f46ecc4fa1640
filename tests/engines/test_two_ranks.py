import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("rank_process.py")


@pytest.fixture
def train(orders, rl, tmp_path: Path):
    """Take steps on groups of rollouts in so many processes; return weights and numbers."""

    def run(num_ranks: int) -> tuple[dict, list[dict[str, float]]]:
        output = tmp_path / f"ranks-{num_ranks}"
        spec = rl(optimizer={"learningRate": 1e-3}, steps=3) | {"placement": {"microBatch": 2}}
        job = tmp_path / f"{num_ranks}.json"
        job.write_text(orders(output, spec).model_dump_json(by_alias=True))
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command = [sys.executable, *launch, str(num_ranks), str(WORKER), str(job)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        numbers = json.loads((output / "numbers.json").read_text())
        return load_file(output / "weights" / "model.safetensors"), numbers

    return run


def test_two_ranks_learn_what_one_learns(train, scratch_model: Path) -> None:
    """Three groups (of 5 rows in all), then one group, which leaves a rank idle, then two."""
    alone, together = train(1), train(2)

    for one, two in zip(alone[1], together[1], strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6)
    start = flat(load_file(scratch_model / "model.safetensors"))
    one, two = flat(alone[0]), flat(together[0])
    assert (one - two).norm() < 1e-5 * one.norm()
    assert (one - two).norm() < 1e-3 * (one - start).norm(), "of the way that they went"


def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])
