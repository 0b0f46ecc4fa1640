"""A tracker that fails neither ends training, nor holds it up, nor is passed over in silence."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from assay_api import InvalidInput
from assay_api.tracking import Tracker, TrackerType
from assay_data.store import Store, open_store
from assay_trainer.metrics_log import write_metrics
from assay_trainer.tracking import required, sender
from assay_trainer.tracking.required import check_keys, check_packages
from assay_trainer.tracking.sender import Sender, start_senders

MLFLOW = Tracker(type=TrackerType.MLFLOW)


class PlayedRun:
    """A run whose calls fail or hang as it is told."""

    def __init__(self, has: list[int], fails: Callable[[int], None]) -> None:
        self.last_step = max(has, default=-1)
        self._has, self._fails = has, fails

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._fails(step)
        self._has.append(step)

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "stage"))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(sender, "_END_SECONDS", 5.0)


def record(one: Sender, store: Store, step: int) -> None:
    write_metrics(store, step, {"loss": 1.0})
    one.record(step, {"loss": 1.0})


def test_what_a_tracker_missed_is_told_once_it_is_back_in_order(store: Store, caplog) -> None:
    has: list[int] = []
    failures = iter([1, 3, 3])
    broken = [next(failures)]

    def fails(step: int) -> None:
        if step == broken[0]:
            broken[0] = next(failures, -1)
            raise ConnectionError("refused")

    one = Sender(MLFLOW, lambda: PlayedRun(has, fails), store)
    for step in range(5):
        record(one, store, step)
        time.sleep(0.02)
    one.close()

    assert has == [0, 1, 2, 3, 4]
    assert caplog.text.count("tracker Mlflow failed: ConnectionError: refused") == 3
    assert "not told everything" not in caplog.text


def test_a_tracker_that_hangs_does_not_hold_the_end_up(store: Store, monkeypatch, caplog) -> None:
    monkeypatch.setattr(sender, "_END_SECONDS", 0.2)
    forever = threading.Event()
    one = Sender(MLFLOW, lambda: PlayedRun([], lambda step: bool(forever.wait(30))), store)

    started = time.monotonic()
    for step in range(3):
        record(one, store, step)
    one.close()

    assert time.monotonic() - started < 5
    assert "tracker Mlflow was not told everything: number of steps missing there: 3" in caplog.text
    forever.set()


def test_a_server_that_is_away_is_told_of(
    make_job: Callable[..., Any], store: Store, monkeypatch, caplog
) -> None:
    """The real library, and a port at which nothing listens."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(sender, "_END_SECONDS", 60.0)
    job = make_job(Tracker(type=TrackerType.MLFLOW, url="http://127.0.0.1:9"))

    (one,) = start_senders(job, store, "digest")
    record(one, store, 1)
    one.close()

    assert "tracker Mlflow at http://127.0.0.1:9 failed" in caplog.text
    assert "number of steps missing there: 1" in caplog.text


def test_a_tracker_whose_package_is_missing_is_refused_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(required.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(
        InvalidInput, match=r"x: spec.tracking\[0\].type: Mlflow .*pip install mlflow-skinny"
    ):
        check_packages([MLFLOW], "x: ")
    check_packages([])


def test_a_run_without_the_key_ends_before_anything_begins(tmp_path: Path) -> None:
    manifest = tmp_path / "stage.yaml"
    manifest.write_text(
        "kind: TrainingStage\nmetadata: {name: base}\nspec:\n  model: {uri: s3://m/x}\n"
        "  dataset: clips\n  sft: {task: Describe, steps: 1}\n"
        "  tracking: [{type: Wandb, url: 'https://wandb.example'}]\n"
        "---\nkind: Dataset\nmetadata: {name: clips}\nspec: {source: {synthetic: {numVideos: 8}}}\n"
    )
    command = [sys.executable, "-m", "assay_trainer.cli.main", "run", "-f", str(manifest)]
    environment = {n: v for n, v in os.environ.items() if n != "WANDB_API_KEY"}

    done = subprocess.run(
        [*command, "--store", str(tmp_path / "store")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 2, done.stderr
    assert "TrainingStage/base: spec.tracking[0].url" in done.stderr
    assert "WANDB_API_KEY" in done.stderr
    assert not list((tmp_path / "store").rglob("*.json"))


def test_a_server_that_asks_for_a_key_is_refused_without(monkeypatch) -> None:
    for name in ("WANDB_API_KEY", "TRACKIO_WRITE_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    online = Tracker(type=TrackerType.WANDB, url="https://wandb.example")

    with pytest.raises(InvalidInput, match=r"spec.tracking\[1\].url: .*WANDB_API_KEY"):
        check_keys([MLFLOW, online])
    monkeypatch.setenv("WANDB_API_KEY", "k")
    check_keys([MLFLOW, online, Tracker(type=TrackerType.TRACKIO)])
