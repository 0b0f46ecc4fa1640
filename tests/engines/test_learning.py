"""RL must learn: a short run with the real engines, and the same with the sign of its loss flipped.

The model sees one of four colours and says which. It was taught to answer right two times in three
about one colour of each class, and wrong two times in three about the other: greedy, it is right
about half of the clips. A run that learns ends right about all of them, one that climbs down the
reward about none; one that does not learn stays where it is.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_clips import clip_row

from assay_api import ResolvedStageJob
from assay_api.policy_loss import LossType
from assay_data.dataset import ClipRow
from assay_data.dataset.shards import write_shard
from assay_data.lessons import Example
from assay_data.store import open_store
from assay_data.video.prepare import encode_jpeg
from assay_trainer.algorithms.losses.dapo import dapo_loss
from assay_trainer.algorithms.losses.policy_loss import PolicyLoss
from assay_trainer.loops import policy_update
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.engines import start_pool
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.loops.stage_job import run_stage_job
from assay_trainer.metrics_log import read_metrics
from assay_trainer.rollout.pool import RolloutPool

NUM_FRAMES, SIDE = 4, 56
COLOURS = {
    "red": ("real", (200, 40, 40), "AAB"),
    "green": ("real", (40, 200, 40), "ABB"),
    "blue": ("fake", (40, 40, 200), "ABB"),
    "yellow": ("fake", (200, 200, 40), "AAB"),
}
"""Label, RGB, and the answers that the model is taught. A is real."""

STEPS = 20
RL = {
    "rl": {
        "steps": STEPS,
        "promptsPerStep": 16,
        "groupSize": 8,
        "maxCompletionTokens": 24,
        "maxSamplingRounds": 1,
        "maxEmptySteps": STEPS,  # The flipped run loses the format, and its validation is wanted.
        "logprobTolerance": 1e-4,
        "optimizer": {"learningRate": 2e-3},
        "validation": {"every": STEPS, "maxClips": 32},
    },
    "rewards": [{"type": "Format"}, {"type": "Accuracy"}],
    "placement": {"microBatch": 32},
    "checkpoint": {"every": 1000},
}
LESSONS = {
    "sft": {
        "task": "Describe",
        "steps": 70,
        "examplesPerStep": 16,
        "optimizer": {"learningRate": 5e-3, "schedule": "Linear", "warmupSteps": 5, "beta2": 0.95},
    },
    "freezeVisionTower": False,
    "placement": {"microBatch": 16},
    "checkpoint": {"every": 1000},
}


def clip(split: str, colour: str, number: int) -> tuple[ClipRow, tuple[bytes, ...]]:
    """A clip of noise around one colour, with what the model is taught about it."""
    label, rgb, answers = COLOURS[colour]
    examples = tuple(
        Example("Describe", "", f"<think>{colour}</think><answer>{letter}</answer>")
        for letter in answers
    )
    row = clip_row(
        f"{split}-{colour}{number}".lower(),
        split=split,
        label=label,
        generator=label,
        examples=examples,
        width=SIDE,
        height=SIDE,
        timestamps_seconds=tuple(index / 4 for index in range(NUM_FRAMES)),
    )
    rng = np.random.default_rng(number)
    frames = rng.normal(rgb, 20, (NUM_FRAMES, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    return row, tuple(encode_jpeg(frame, SIDE, SIDE) for frame in frames)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 64 clips to train on and 32 held out, the colours equally often."""
    folder = tmp_path_factory.mktemp("colours")
    clips = [
        clip(split, colour, number)
        for split, numbers in (("Train", range(16)), ("Test", range(100, 108)))
        for number in numbers
        for colour in COLOURS
    ]
    tree = folder / "tree"
    write_shard(tree / "shards/part-00000.parquet", clips)
    (tree / "drops.json").write_text("[]")
    (tree / "dataset.json").write_text(
        '{"shards": ["shards/part-00000.parquet"], "spec": {"frames": {"count": 4}}}'
    )
    open_store(str(folder / "dataset")).publish(tree, "")
    return folder / "dataset"


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Run stages in this process; afterwards the environment is as before."""
    before = dict(os.environ)
    os.environ["LOCAL_RANK"] = "0"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def taught_model(colours: Path, make_orders, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("taught")
    run_stage_job(make_orders(colours, None)(output, LESSONS))
    return output / "model"


@pytest.fixture(scope="module")
def orders(colours: Path, taught_model: Path, make_orders) -> Callable[..., ResolvedStageJob]:
    return make_orders(colours, taught_model)


@pytest.fixture(scope="module")
def pool(cluster, orders, tmp_path_factory) -> Iterator[RolloutPool]:
    """One engine for both runs: each begins with loading its own weights."""
    job = orders(tmp_path_factory.mktemp("pool"), RL)
    pool = start_pool(job, max_completion_tokens=24, lora=None)
    yield pool
    pool.close()


@pytest.fixture
def held_out_accuracy(orders, pool: RolloutPool, tmp_path: Path) -> Callable[[], list[float]]:
    """Run the stage; return the greedy accuracy on held-out clips before and after."""

    def run() -> list[float]:
        parts = build_parts(orders(tmp_path / "stage", RL), temperature=1.0)
        assert rl_loop(parts, pool, {}).run()
        numbers = read_metrics(parts.store)
        return [numbers[step]["accuracy/held_out_think"] for step in (0, STEPS)]

    return run


def test_held_out_accuracy_rises_from_a_half_to_nearly_one(
    held_out_accuracy: Callable[[], list[float]],
) -> None:
    before, after = held_out_accuracy()
    assert before == pytest.approx(0.5, abs=0.1)
    assert after >= 0.9


def test_with_the_sign_of_the_loss_flipped_it_falls_to_nearly_none(
    held_out_accuracy: Callable[[], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(*args, **more) -> PolicyLoss:
        right = dapo_loss(*args, **more)
        return replace(right, loss=-right.loss)

    monkeypatch.setitem(policy_update.LOSSES, LossType.DAPO, flipped)
    before, after = held_out_accuracy()
    assert before == pytest.approx(0.5, abs=0.1)
    assert after <= 0.1
