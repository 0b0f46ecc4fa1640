"""What a container's log shows: one line per event, with time, level and whose it is."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assay_api import Dataset, InvalidInput, ResolvedDatasetJob
from assay_api.log_lines import JsonLines, TextLines, checked_format
from assay_data.store import open_store
from assay_trainer.loops.recorder import Recorder
from assay_trainer.process import ProcessName

LEARNER = ProcessName("stage", "foundation", "learner", attempt=2, rank=1, world_size=4)
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING) dataset videos (.*)")


def test_a_process_is_named_by_what_it_works_for() -> None:
    assert str(LEARNER) == "foundation-a2 learner 1"
    assert str(ProcessName("stage", "foundation", "rollout", attempt=2)) == "foundation-a2 rollout"
    assert str(ProcessName("evaluation", "nightly", "evaluation")) == "evaluation nightly"
    assert LEARNER.labels == {"stage": "foundation", "attempt": "2", "process": "learner"}
    assert LEARNER.context == {
        "stage": "foundation", "attempt": 2, "process": "learner", "rank": 1,
    }  # fmt: skip


def test_a_step_is_one_line_with_the_main_numbers_and_all_of_them_in_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(open_store(str(tmp_path)), total_steps=40, leads=True)
    numbers = {"reward/mean": 0.5, "loss": 0.0123456, "grad_norm": 2.0, "time/step_seconds": 31.24}
    with caplog.at_level(logging.INFO, "assay_trainer"):
        recorder.record(3, numbers)
    (record,) = caplog.records
    record.created = 0.5
    told = "step 3 of 40, reward/mean 0.5, loss 0.01235, 31.2 s"
    assert TextLines(str(LEARNER)).format(record) == (
        f"1970-01-01 00:00:00 INFO foundation-a2 learner 1 {told}"
    )
    event = json.loads(JsonLines(LEARNER.context).format(record))
    assert event["numbers"] == {"step": 3, **numbers}
    assert (event["message"], event["stage"], event["rank"]) == (told, "foundation", 1)


def test_only_the_process_that_leads_tells_of_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "assay_trainer"):
        Recorder(open_store(str(tmp_path)), total_steps=40, leads=False).record(3, {"loss": 1.0})
    assert caplog.records == []


def test_a_format_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidInput, match="--log-format: got 'xml', allowed: json, text"):
        checked_format("xml", "--log-format")


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders of a dataset of a few drawn videos."""
    folder = tmp_path_factory.mktemp("orders")
    source = {"synthetic": {"numVideos": 8, "widthPixels": 56, "seconds": 2}}
    spec = {"source": source, "frames": {"count": 4, "fps": 2.0}}
    dataset = Dataset.model_validate({"metadata": {"name": "videos"}, "spec": spec})
    job = ResolvedDatasetJob(dataset=dataset, output=str(folder / "dataset"))
    (folder / "orders.json").write_text(job.model_dump_json(by_alias=True))
    return folder / "orders.json"


def log_of(orders: Path, *options: str, **env: str) -> list[str]:
    """Return what the container's program writes, standard output and error together."""
    command = [sys.executable, "-m", "assay_trainer.cli.main", "data", "build", str(orders)]
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_a_containers_log_is_lines_for_people(orders: Path) -> None:
    lines = log_of(orders)
    matched = [LINE.fullmatch(line) for line in lines]
    assert None not in matched, lines
    assert matched[-1] and matched[-1][2] == "complete: rows 8, videos 8"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_or_json_and_nothing_else(orders: Path, how: str) -> None:
    asked = ("--log-format", "json") if how == "option" else ()
    lines = log_of(orders, *asked, ASSAY_LOG_FORMAT="text" if asked else "json")
    events = [json.loads(line) for line in lines]
    assert {event["dataset"] for event in events} == {"videos"}
    assert events[-1]["message"] == "complete: rows 8, videos 8"
