"""Supervised stages that are asked to stop, and go on where they stopped."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay_api import StopRequest
from assay_api.layout import stop_file
from assay_data.store import open_store
from assay_trainer.loops.recorder import Recorder
from assay_trainer.loops.stage_job import run_stage_job
from assay_trainer.metrics_log import read_metrics


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Run stages in this process; afterwards the environment is as before."""
    before = dict(os.environ)
    os.environ["LOCAL_RANK"] = "0"
    yield
    os.environ.clear()
    os.environ.update(before)


def trace(output: Path) -> dict[int, dict[str, float]]:
    """Return all numbers of all steps that are not times."""
    return {
        step: {name: value for name, value in numbers.items() if not name.startswith("time/")}
        for step, numbers in read_metrics(open_store(str(output))).items()
    }


def saved_steps(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoints").glob("step-*"))


def test_a_stage_that_is_stopped_twice_ends_as_one_that_was_not(
    dataset, scratch_model, make_orders, sft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = make_orders(dataset, scratch_model)
    spec = {**sft(steps=6), "checkpoint": {"every": 100, "keep": 1}}
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    run_stage_job(orders(undisturbed, spec))
    record = Recorder.record

    def then(step: int, happens: Callable[[], object]) -> None:
        def record_and_then(self: Recorder, now: int, metrics: Mapping[str, float]) -> None:
            record(self, now, metrics)
            if now == step:
                happens()

        monkeypatch.setattr(Recorder, "record", record_and_then)

    request = StopRequest(uid="", requested_at=datetime.now(UTC))
    text = request.model_dump_json(by_alias=True).encode()
    then(2, lambda: open_store(str(stopped)).write(stop_file(1), text))
    run_stage_job(orders(stopped, spec))
    assert saved_steps(stopped) == ["step-000002"]
    assert not (stopped / "completion.json").exists() and not (stopped / "model").exists()

    second = orders(stopped, spec).model_copy(update={"attempt": 2})
    then(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit, match="143"):
        run_stage_job(second)
    assert saved_steps(stopped) == ["step-000004"]
    assert not (stopped / "completion.json").exists()

    run_stage_job(second.model_copy(update={"attempt": 3}))
    assert sorted(trace(stopped)) == [1, 2, 3, 4, 5, 6]
    assert trace(stopped) == trace(undisturbed)
    proofs = [json.loads((p / "completion.json").read_text()) for p in (stopped, undisturbed)]
    assert proofs[0]["digest"] == proofs[1]["digest"]
