"""Trackers are the real libraries, offline: what they have must be what the metrics files have."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_file import wandb_history

from assay_api.tracking import Tracker, TrackerType
from assay_data.store import open_store
from assay_trainer.loops.recorder import Recorder
from assay_trainer.metrics_log import read_metrics
from assay_trainer.tracking.sender import start_senders

Told = dict[int, dict[str, float]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What trackers set in the environment, and write into the home folder, ends with the test."""
    before = dict(os.environ)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield
    os.environ.clear()
    os.environ.update(before)


def wandb_has(folder: Path) -> Told:
    rows = wandb_history(folder / "wandb")
    assert len({row["_step"] for row in rows}) == len(rows), "a step twice"
    return {int(row["_step"]): numbers(row) for row in rows}


def numbers(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith("_")}


def mlflow_has(folder: Path) -> Told:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    (experiment,) = (e for e in client.search_experiments() if e.name == "detectors")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "base"
    told: Told = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            assert name not in told.get(metric.step, {}), "a step twice"
            told.setdefault(metric.step, {})[name] = metric.value
    return {step: {n: v for n, v in found.items() if n != "step"} for step, found in told.items()}


def trackio_has(folder: Path) -> Told:
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_runs("detectors")
    assert run.startswith("base-")
    rows = SQLiteStorage.get_logs("detectors", run)
    assert len({row["step"] for row in rows}) == len(rows), "a step twice"
    return {
        row["step"]: {n: v for n, v in row.items() if n not in ("step", "timestamp")}
        for row in rows
    }


HAS: dict[TrackerType, Callable[[Path], Told]] = {
    TrackerType.WANDB: wandb_has,
    TrackerType.MLFLOW: mlflow_has,
    TrackerType.TRACKIO: trackio_has,
}


def step_numbers(step: int) -> dict[str, float]:
    return {"loss": 1 / (step + 3), "reward/mean": 0.1 * step, "time/step_seconds": 0.5}


@pytest.mark.parametrize("kind", TrackerType)
def test_a_tracker_has_what_the_metrics_files_have_each_step_once(
    make_job: Callable[..., Any], kind: TrackerType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage is killed after step 4, whose checkpoint is that of step 2, and goes on."""
    # Trackio reads its folder when it is imported, which TRL may have done in a test before.
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    job = make_job(Tracker(type=kind, project="detectors"))
    store = open_store(job.output)

    def run(steps: range) -> Recorder:
        senders = start_senders(job, store, "digest")
        recorder = Recorder(store, total_steps=9, leads=True, senders=senders)
        for step in steps:
            recorder.record(step, step_numbers(step))
        return recorder

    run(range(5)).close()
    run(range(3, 8)).close()

    told = HAS[kind](Path(job.output, "tracking"))
    files = read_metrics(store)
    assert told == {
        step: {n: v for n, v in found.items() if n != "step"} for step, found in files.items()
    }
    assert sorted(told) == list(range(8))
