import math
from pathlib import Path

import pytest

from assay_api import EngineError, StoreError
from assay_data.store import open_store
from assay_trainer.metrics_log import (
    read_metrics,
    read_progress,
    write_metrics,
    write_progress,
)


def test_numbers_come_back_by_step_in_the_order_of_steps(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for step in (1_000_000, 2, 10):
        write_metrics(store, step, {"reward/mean": step / 10, "loss": -0.5})
    found = read_metrics(store)
    assert list(found) == [2, 10, 1_000_000]
    assert found[2] == {"step": 2, "reward/mean": 0.2, "loss": -0.5}


def test_files_of_other_programs_are_not_steps(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("metrics/events.out.tfevents.1", b"")
    write_metrics(store, 1, {"loss": 1.0})
    assert list(read_metrics(store)) == [1]


def test_a_step_done_again_replaces_its_numbers(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write_metrics(store, 3, {"loss": 1.0, "grad_norm": 2.0})
    write_metrics(store, 3, {"loss": 0.5})
    assert read_metrics(store) == {3: {"step": 3, "loss": 0.5}}


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_stops_the_run_and_is_named(
    tmp_path: Path, wrong: float
) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(EngineError, match=f"step 7: grad_norm = {wrong}: not finite"):
        write_metrics(store, 7, {"loss": 1.0, "grad_norm": wrong})
    with pytest.raises(EngineError, match=f"reward = {wrong}"):
        write_progress(store, 7, 10, "learning", {"reward": wrong})
    assert read_metrics(store) == {}


def test_progress_comes_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert read_progress(store) is None
    write_progress(store, 7, 10, "learning", {"reward": 0.25})
    found = read_progress(store)
    assert found is not None
    assert (found.step, found.total, found.doing) == (7, 10, "learning")
    assert found.metrics == {"reward": 0.25}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("metrics/step-000001.json", b'{"loss": ')
    with pytest.raises(StoreError, match=r"metrics/step-000001\.json"):
        read_metrics(store)
    store.write("progress.json", b"{}")
    with pytest.raises(StoreError, match=r"progress\.json"):
        read_progress(store)
