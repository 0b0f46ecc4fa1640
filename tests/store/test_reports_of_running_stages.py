"""A report from a bucket at any time: of what has only begun, and of what is half-way."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from object_server import ObjectServer

from assay_api import ResolvedStageJob, TrainingStage
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint
from assay_data.store import Store, open_store
from assay_trainer.metrics_log import write_metrics, write_progress
from assay_trainer.report.collect import collect
from assay_trainer.report.page import render


def words(store: Store) -> str:
    """Return the text of the page, without its tags and scripts."""
    page = render(collect(store), datetime(2026, 1, 2, tzinfo=UTC))
    body = page.partition("</header>")[2].partition('<script type="application/json"')[0]
    return " ".join("".join(p.partition(">")[2] + " " for p in body.split("<")).split())


def write_orders(store: Store, name: str) -> None:
    spec = {
        "model": {"uri": "s3://models/base"},
        "dataset": "clips",
        "rl": {"steps": 40},
        "rewards": [{"type": "Accuracy"}],
    }
    job = ResolvedStageJob(
        stage=TrainingStage.model_validate({"metadata": {"name": name}, "spec": spec}),
        attempt=1,
        model=None,
        dataset=f"{store.url}/datasets/clips",
        output=f"{store.url}/stages/{name}",
    )
    store.write(f"stages/{name}/orders/attempt-1.json", job.model_dump_json(by_alias=True).encode())


@pytest.mark.parametrize("server", ["minio"], indirect=True)
def test_a_run_is_reported_at_each_moment_of_its_course(
    server: ObjectServer, bucket: str, tmp_path: Path
) -> None:
    store = open_store(f"{bucket}/team-a")
    clips, stage = store.child("datasets/clips"), store.child("stages/foundation")

    write_progress(clips, 17, 96, "videos", {})
    assert "The dataset is not complete yet: 17 of 96, videos." in words(store)

    # Its shards are there, its manifest is not.
    clips.write("shards/00000.parquet", b"half of it")
    assert "The dataset is not complete yet: 17 of 96, videos." in words(store)

    write_orders(store, "foundation")
    assert "foundation rl nothing recorded yet 0 of 40" in words(store)

    write_progress(stage, 0, 40, "sampling", {})
    assert "foundation rl not finished: sampling 0 of 40" in words(store)
    assert "No step has been recorded yet." in words(store)

    write_metrics(stage, 1, {"reward/mean": 0.25, "time/step_seconds": 3.0})
    write_progress(stage, 1, 40, "learning", {})
    found = words(store)
    assert "foundation rl not finished: learning 1 of 40 3.0 s" in found
    assert "No rollouts have been logged yet." in found

    # A checkpoint whose manifest is not written yet, beside one that is whole.
    tree = tmp_path / "checkpoint"
    tree.mkdir()
    (tree / "position.json").write_text(json.dumps({"step": 1}))
    CheckpointStore(stage.child("checkpoints")).publish(tree, SavedCheckpoint(1, 1))
    stage.write("checkpoints/step-000002/shard-0.bin", b"half of it")
    assert "foundation rl not finished: learning 1 of 40" in words(store)

    write_progress(store.child("evaluations/nightly"), 64, 192, "answering, Think", {})
    assert "No result yet: 64 of 192, answering, Think." in words(store)


@pytest.mark.parametrize("server", ["minio"], indirect=True)
@pytest.mark.parametrize("key", ["progress.json", "checkpoints/step-000001/shard-0.bin"])
def test_a_stage_alone_is_reported_from_the_first_file_on(
    server: ObjectServer, bucket: str, key: str
) -> None:
    stage = open_store(f"{bucket}/team-a/stages/foundation")
    if key == "progress.json":
        write_progress(stage, 0, 40, "sampling", {})
    else:
        stage.write(key, b"half of it")
    assert "foundation" in words(stage)
