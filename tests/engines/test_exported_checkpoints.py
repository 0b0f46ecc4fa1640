"""A checkpoint written as a model, and a schedule that evaluates what is new, with real engines."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay_api import (
    Evaluation,
    FramePlan,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    ResolvedStart,
    WatchedStage,
)
from assay_data.checkpoint_store import CheckpointStore
from assay_data.store import open_store
from assay_trainer.checkpoints import Position
from assay_trainer.loops.publish_model import publish_model
from assay_trainer.models.export import WEIGHTS_FILE, export_checkpoint
from assay_trainer.models.published import ModelCard

LORA = {"rank": 8, "alpha": 8, "targets": ["q_proj", "v_proj", "down_proj"]}


def tree(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    assert "model.safetensors" in found
    return {n: c for n, c in found.items() if n != "manifest.json" and not n.startswith("adapter/")}


@pytest.mark.parametrize(
    ("zero_stage", "precision", "lora", "trains_all"),
    [
        (0, "Float32", None, False),
        (1, "BFloat16", None, False),
        (2, "Float32", None, True),
        (2, "Float32", LORA, False),
        (2, "BFloat16", LORA, False),
    ],
)
def test_an_exported_checkpoint_is_the_published_model_bit_for_bit(
    make_parts: Callable[..., Any],
    draw_completions: Callable[..., Any],
    tmp_path: Path,
    zero_stage: int,
    precision: str,
    lora: dict[str, Any] | None,
    trains_all: bool,
) -> None:
    placement = {"precision": precision, "zeroStage": zero_stage}
    parts = make_parts(placement=placement, lora=lora, freezeVisionTower=not trains_all)
    before = parts.policy.exported_weights()
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3)))
    for _ in range(2):
        parts.learner.update([(batch, lambda out: -out.logprobs.mean())])
    after = parts.policy.exported_weights()
    assert any((after[name] != before[name]).any() for name in before), "nothing was learned"
    parts.checkpoints().save(Position(2, 2, 0))
    publish_model(parts)

    spec = parts.stage.spec
    checkpoints = CheckpointStore(parts.store.child("checkpoints"))
    (saved,) = checkpoints.saved()
    checkpoints.fetch_file(saved, WEIGHTS_FILE, tmp_path / "weights.pt")
    export_checkpoint(
        tmp_path / "weights.pt",
        Path(parts.job.model.uri),
        tmp_path / "exported",
        precision=precision,
        lora=spec.lora,
        card=ModelCard(
            prompt=spec.prompt,
            frames=FramePlan.model_validate(parts.dataset.info["spec"]["frames"]),
        ),
    )

    assert tree(tmp_path / "exported") == tree(Path(parts.job.output) / "model")


def orders_of(job: ResolvedStageJob, output: Path) -> ResolvedEvaluationJob:
    spec = job.stage.spec
    written = {
        "model": {"fromStage": "stage"},
        "dataset": "clips",
        "schedule": "*/5 * * * *",
        "maxClips": 2,
        "maxCompletionTokens": 16,
        "precision": "Float32",
        "bootstrapSamples": 100,
    }
    return ResolvedEvaluationJob(
        evaluation=Evaluation.model_validate({"metadata": {"name": "nightly"}, "spec": written}),
        watched=WatchedStage(
            name="stage",
            url=job.output,
            start=ResolvedStart(
                model=job.model,
                scratch=spec.model.scratch,
                dataset=job.dataset,
                prompt=spec.prompt,
                lora=spec.lora,
                precision=spec.placement.precision,
            ),
        ),
        dataset=job.dataset,
        output=str(output),
    )


def test_a_schedule_evaluates_the_model_then_what_has_no_result_then_nothing(
    dataset: Path,
    make_orders: Callable[..., Any],
    sft: Callable[..., dict[str, Any]],
    run_stage: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    spec = {**sft(steps=2), "checkpoint": {"every": 1, "keep": 2}, "freezeVisionTower": False}
    job = make_orders(dataset, None)(tmp_path / "stage", spec)
    with run_stage(job) as process:
        log = process.communicate()[0]
    assert process.returncode == 0, log
    orders = tmp_path / "orders.json"
    orders.write_text(orders_of(job, tmp_path / "evaluation").model_dump_json(by_alias=True))

    said = evaluate(orders, times=3)

    assert sum(line.startswith("accuracy  ") for line in said) == 2
    assert "nothing new of stage stage" in said[-1]
    results = sorted((tmp_path / "evaluation/results").iterdir())
    about = [json.loads(path.read_text())["watched"] for path in results]
    assert [(w["isFinal"], w["step"]) for w in about] == [(True, 2), (False, 1)]
    store = open_store(job.output)
    digests = [json.loads(path.read_text())["modelDigest"] for path in results]
    assert digests == [store.digest("model"), store.digest("checkpoints/step-000001")]
    newest = json.loads((tmp_path / "evaluation/newest.json").read_text())
    assert newest == json.loads((tmp_path / "evaluation/completion.json").read_text())
    assert newest["digest"] == digests[0]
    assert store.list("checkpoints/pins") == []


def evaluate(orders: Path, *, times: int) -> list[str]:
    """Do what the container of a scheduled run does, so often; return the lines that it says.

    All in one process: what takes long to load is loaded once.
    """
    program = [sys.executable, "-c", AS_OFTEN, str(times), "eval", "--orders", str(orders)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AS_OFTEN = """
import sys
from assay_trainer.cli.main import main

for _ in range(int(sys.argv.pop(1))):
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
"""
