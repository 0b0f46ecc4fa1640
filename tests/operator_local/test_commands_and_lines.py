"""The exact commands of workloads, and the lines that people read."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay_api import Completion
from assay_api.layout import ResourceId
from assay_data.store import FolderStore
from assay_operator.local.command import command_for
from assay_operator.local.show import Lines, numbers_text, progress_text
from assay_operator.observed import Attempt, Observed
from assay_operator.reconcile import reconcile
from assay_operator.records import Progress

FOUNDATION = ResourceId("TrainingStage", "foundation")
ORDERS = Path("/store/orders.json")
ASSAY = (sys.executable, "-m", "assay_trainer.cli.main")


@pytest.fixture
def workload(nothing_done: Observed, finish: Callable[..., Observed]) -> Callable[..., Any]:
    def due(name: str, *done: str, **placement: int) -> Any:
        observed = finish(nothing_done, *done)
        judge = ResourceId("RewardModel", "judge")
        if name == "foundation":
            observed = replace(
                observed, attempts={judge: (Attempt(1, 0.0, url="http://127.0.0.1:1/v1"),)}
            )
        resource = next(r for r in observed.resources.values() if r.metadata.name == name)
        if placement:
            spec = resource.spec
            update = {"placement": spec.placement.model_copy(update=placement)}  # type: ignore[union-attr]
            resource = resource.model_copy(update={"spec": spec.model_copy(update=update)})
        (found,) = reconcile(resource, observed).apply
        return found

    return due


def test_each_role_has_its_command(workload: Any) -> None:
    commands = {
        "clips": command_for(workload("clips"), ORDERS).argv,
        "foundation": command_for(
            workload("foundation", "clips", "judge-training", learners=2), ORDERS
        ).argv,
        "judge-training": command_for(workload("judge-training", "clips"), ORDERS).argv,
        "after": command_for(
            workload("after", "clips", "judge-training", "foundation"), ORDERS
        ).argv,
    }
    assert commands == {
        "clips": (*ASSAY, "data", "build", str(ORDERS)),
        "foundation": (*ASSAY, "train", "--stage", str(ORDERS)),
        "judge-training": (*ASSAY, "train", "--stage", str(ORDERS)),
        "after": (*ASSAY, "eval", "--orders", str(ORDERS)),
    }


def test_sft_on_several_learners_is_started_by_torchrun(workload: Any) -> None:
    command = command_for(workload("judge-training", "clips", learners=2), ORDERS)
    assert command.argv == (
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "assay_trainer.cli.main", "train", "--stage", str(ORDERS)),
    )


def test_a_server_is_vllm_on_the_local_address(workload: Any) -> None:
    found = workload("judge", "clips", "judge-training")
    settled = replace(found, orders=found.orders.model_copy(update={"port": 5000}))
    command = command_for(settled, ORDERS)
    assert command.argv == (
        *(*ASSAY, "serve", "--own-chat-template"),
        *("--model", "file:///store/stages/judge-training/model", "--name", "judge"),
        *("--host", "127.0.0.1", "--port", "5000", "--dtype", "bfloat16"),
        *("--max-model-len", "8192", "--enforce-eager", "--gpu-memory-utilization", "0.1"),
        *("--disable-access-log-for-endpoints", "/health,/metrics"),
        *("--limit-mm-per-prompt", '{"image": 16, "video": 1}'),
    )
    assert command.env == {"VLLM_NO_USAGE_STATS": "1"}


def test_a_line_says_how_far_a_workload_is() -> None:
    progress = Progress(12, 40, "", {"reward/mean": 0.31, "accuracy/sampled": 0.58})
    assert progress_text(FOUNDATION, progress, 62.4) == (
        "stage foundation  12/40  reward 0.31  accuracy sampled 0.58  (62 s)"
    )
    assert progress_text(FOUNDATION, None, 3.0) == "stage foundation  (3 s)"
    assert numbers_text({"numRows": 480, "kind": "x"}) == "numRows 480  kind x"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_live_lines_update_in_place_only_on_a_terminal(
    tmp_path: Path, nothing_done: Observed, out: io.StringIO
) -> None:
    lines = Lines(FolderStore(tmp_path), out)
    live = replace(nothing_done, attempts={FOUNDATION: (Attempt(1, 90.0),)})
    for step in (1, 2, 3):
        lines.progress(live, {FOUNDATION: Progress(step, 40, "", {})})
    lines.close()
    expected = [f"stage foundation  {step}/40  (10 s)\n" for step in (1, 2, 3)]
    up = "\x1b[1F\x1b[J"
    if out.isatty():
        assert out.getvalue() == up.join(expected) + up
    else:
        assert out.getvalue() == expected[0]


def test_the_end_of_a_workload_is_a_line(tmp_path: Path) -> None:
    out = io.StringIO()
    lines = Lines(FolderStore(tmp_path), out)
    attempt = Attempt(1, 10.0, 72.0, 0)
    completion = Completion(spec_digest="s", digest="d", result=".", summary={"accuracy": 0.9})
    lines.ended(FOUNDATION, attempt, completion)
    lines.ended(FOUNDATION, replace(attempt, stopped=True), None)
    assert out.getvalue() == (
        "stage foundation  done  accuracy 0.9  (62 s)\nstage foundation  stopped  (62 s)\n"
    )
