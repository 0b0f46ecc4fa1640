"""Local runs with real processes: order, failures, kills, locks, ports."""

import io
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from assay_api import InvalidInput, StoreError
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_data.store import FolderStore
from assay_operator.local.explain import explain_resources
from assay_operator.local.locks import hold, holder_of
from assay_operator.local.loop import RunResult, run_resources
from assay_operator.local.result import plain, raise_if_unfinished, table
from assay_operator.local.show import Lines

ALL = ("clips", "judge-training", "judge", "foundation", "after", "advanced")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay_operator.local.loop.LOOK_EVERY_SECONDS", 0.05)


class Run:
    """Runs the played resources here and keeps what was shown."""

    def __init__(self, played: Any, resources: list[Resource]) -> None:
        self.played, self.resources = played, resources
        self.store = FolderStore(played.store)
        self.shown = ""

    def __call__(self, *names: str) -> RunResult:
        out = io.StringIO()
        wanted = [r for r in self.resources if not names or r.metadata.name in names]
        try:
            return run_resources(
                wanted, self.store, Lines(self.store, out), self.played.command_for
            )
        finally:
            self.shown = out.getvalue()

    def state(self, result: RunResult, name: str) -> tuple[str, str]:
        found = next(r for r in result.resources if r.resource.name == name)
        return found.verdict.state, found.verdict.reason


@pytest.fixture
def run(played: Any, resources: list[Resource]) -> Run:
    return Run(played, resources)


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def test_everything_runs_once_in_order_and_a_second_run_does_nothing(run: Run) -> None:
    result = run()
    assert {r.resource.name: str(r.verdict.state) for r in result.resources} == {
        **dict.fromkeys(ALL, "Succeeded"),
        "judge": "Stopped",
    }
    raise_if_unfinished(result, run.store.url)
    runs = run.played.runs()
    assert runs == dict.fromkeys(ALL, 1)
    starts = [line.split("  ")[0] for line in run.shown.splitlines() if line.endswith("  starts")]
    assert [s for s in starts if "reward" not in s] == [
        "dataset clips",
        "stage judge-training",
        "stage foundation",
        "evaluation after",
        "stage advanced",
    ]
    assert starts.index("reward model judge") < starts.index("stage foundation")

    again = run()
    assert run.played.runs() == runs
    assert run.shown == ""
    lines = table(again).splitlines()
    assert lines[0].split() == ["RESOURCE", "STATE", "SECONDS", "SUMMARY"]
    assert lines[1].split() == ["Dataset/clips", "Succeeded", "-", "accuracy", "think", "0.9"]
    assert plain(again)["resources"][0]["summary"] == {"accuracy/think": 0.9}


def test_a_stage_killed_by_a_signal_is_tried_again(run: Run) -> None:
    run.played.behave(judge_training=[{"signal": signal.SIGKILL, "progress": 3}])
    result = run("clips", "judge-training")
    assert run.state(result, "judge-training") == ("Succeeded", "Completed")
    assert run.played.runs() == {"clips": 1, "judge-training": 2}
    assert "stage judge-training  was killed by SIGKILL" in run.shown
    assert "    attempt 1 of judge-training says hello" in run.shown
    assert (
        "Retrying: attempt 1 was killed by SIGKILL at step 3 (infrastructure failure 1; 5 are"
        in run.shown
    )
    assert "stage judge-training  starts (attempt 2)" in run.shown


@pytest.mark.parametrize(
    ("behaviour", "reason", "error"),
    [
        ({"exit": 1}, "RetriesExhausted", "WorkloadError"),
        ({"exit": 2}, "InputRefused", "InvalidInput"),
        ({"exit": 0}, "RetriesExhausted", "WorkloadError"),
    ],
)
def test_a_failure_of_the_stage_itself_ends_the_run_with_its_log(
    run: Run, behaviour: dict[str, object], reason: str, error: str
) -> None:
    run.played.behave(clips=[behaviour])
    result = run()
    assert run.state(result, "clips") == ("Failed", reason)
    assert run.state(result, "foundation") == ("Blocked", "WaitingForDataset")
    assert run.played.runs() == {"clips": 1}
    assert f"whole log: {run.played.store}/datasets/clips/logs/attempt-1.log" in run.shown
    with pytest.raises((InvalidInput, Exception)) as raised:
        raise_if_unfinished(result, run.store.url)
    assert type(raised.value).__name__ == error
    # The user mends it and gives the same command.
    run.played.behave()
    assert run.state(run("clips"), "clips") == ("Succeeded", "Completed")


def test_a_server_that_dies_before_it_is_ready_fails_with_its_log(run: Run) -> None:
    run.played.behave(judge=[{"exit": 1}])
    result = run()
    assert run.state(result, "judge") == ("Failed", "RetriesExhausted")
    assert run.state(result, "foundation") == ("Blocked", "WaitingForRewardModel")
    assert "    attempt 1 of judge says hello" in run.shown


def test_a_gate_that_does_not_pass_keeps_its_stage_back(run: Run) -> None:
    run.played.behave(after=[{"summary": {"accuracy/think": 0.6}}])
    result = run()
    assert run.state(result, "advanced") == ("Blocked", "GateNotPassed")
    assert "advanced" not in run.played.runs()


def test_an_attempts_own_children_do_not_outlive_it(run: Run) -> None:
    run.played.behave(clips=[{"grandchild": True}])
    run("clips")
    assert run.played.living() == []


def test_a_killed_runner_leaves_nothing_and_the_next_run_goes_on(run: Run) -> None:
    run.played.behave(judge_training=[{"grandchild": True, "seconds": 60, "ignore_term": True}])
    runner = run.played.start_runner()
    grandchild = run.played.store / "stages/judge-training/grandchild.txt"
    wait_until(grandchild.exists)
    assert len(run.played.living()) >= 2
    runner.kill()
    runner.communicate()
    wait_until(lambda: run.played.living() == [])
    assert run.played.runs()["clips"] == 1
    result = run()
    assert run.state(result, "advanced") == ("Succeeded", "Completed")
    assert run.played.runs() == {**dict.fromkeys(ALL, 1), "judge-training": 2}


def test_leftovers_of_a_run_whose_guard_died_too_are_ended_by_the_next(run: Run) -> None:
    orphan = subprocess.Popen(
        ["sleep", "300"],
        env={
            **os.environ,
            "ASSAY_STORE_OWNER": str(run.played.store),
            "ASSAY_RESOURCE": "Dataset/clips",
        },
        start_new_session=True,
    )
    other = subprocess.Popen(
        ["sleep", "300"],
        env={**os.environ, "ASSAY_STORE_OWNER": str(run.played.store), "ASSAY_RESOURCE": "X/y"},
    )
    try:
        run("clips")
        assert orphan.wait(timeout=5) == -signal.SIGKILL
        assert other.poll() is None, "another run's workload was ended"
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def test_an_interrupt_stops_the_children_and_the_same_command_goes_on(run: Run) -> None:
    run.played.behave(clips=[{"seconds": 60}])
    runner = run.played.start_runner("clips")
    wait_until(lambda: run.played.runs() == {"clips": 1})
    runner.send_signal(signal.SIGTERM)
    _, shown = runner.communicate(timeout=20)
    assert runner.returncode == 130, shown
    assert run.played.living() == []
    assert run.state(run("clips"), "clips") == ("Succeeded", "Completed")
    assert run.played.runs() == {"clips": 2}


def test_a_second_run_is_refused_and_told_who_holds_it(run: Run) -> None:
    run.played.behave(clips=[{"seconds": 60}])
    runner = run.played.start_runner("clips")
    wait_until(lambda: run.played.runs() == {"clips": 1})
    with pytest.raises(StoreError) as raised:
        run("clips", "judge-training")
    assert (
        f"Dataset/clips in {run.store.url} is being worked on by process {runner.pid} on "
        in str(raised.value)
    )
    assert run.played.living() != [], "the refused run ended the other one's workload"
    explained = explain_resources(run.resources[:1], run.store)[0]
    assert str(explained.verdict.state) == "Running"
    assert explained.holder is not None and explained.holder.pid == runner.pid
    runner.terminate()
    runner.communicate(timeout=20)
    run("clips")


def test_the_kernel_releases_the_locks_of_the_dead(run: Run) -> None:
    clips = ResourceId("Dataset", "clips")
    with hold(run.store, [clips]):
        holder = holder_of(run.store, clips)
        assert holder is not None and holder.pid == os.getpid()
    assert holder_of(run.store, clips) is None


def test_a_port_in_use_is_refused_before_anything_runs(run: Run, played: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        judge = run.resources[2]
        spec = judge.spec.model_copy(update={"port": port})  # type: ignore[union-attr]
        run.resources = [*run.resources]
        run.resources[2] = judge.model_copy(update={"spec": spec})
        with pytest.raises(InvalidInput) as raised:
            run()
    assert str(raised.value) == (
        f"RewardModel/judge: field spec.port: got {port}, which can't be used on this machine "
        "(Address already in use); give another port, or 0 for any that is free"
    )
    assert played.runs() == {}


def test_work_finished_with_another_spec_is_refused_before_anything_runs(run: Run) -> None:
    run("clips", "judge-training")
    stage = run.resources[1]
    sft = stage.spec.sft.model_copy(update={"steps": 60})  # type: ignore[union-attr]
    longer = stage.model_copy(update={"spec": stage.spec.model_copy(update={"sft": sft})})
    run.resources = [run.resources[0], longer]
    with pytest.raises(InvalidInput) as raised:
        run()
    assert str(raised.value) == (
        f"stage judge-training in {run.store.url} was finished with another spec "
        "(spec.sft.steps: 4, now 60): give another name or store, or delete stages/judge-training"
    )
    assert run.played.runs() == {"clips": 1, "judge-training": 1}


def test_explain_tells_the_failure_of_an_earlier_run(run: Run) -> None:
    run.played.behave(clips=[{"exit": 1}])
    run()
    found = {e.resource.name: e for e in explain_resources(run.resources, run.store)}
    assert found["clips"].text() == (
        "Dataset/clips: Failed (RetriesExhausted)\n"
        "  why: attempt 1 ended with exit code 1 (application failure 1; 0 are tried again)\n"
        "  to do: the end of its log says why: "
        f"{run.played.store}/datasets/clips/logs/attempt-1.log; mend it, `assay run` again"
    )
    assert found["foundation"].plain() == {
        "kind": "TrainingStage",
        "name": "foundation",
        "state": "Blocked",
        "reason": "WaitingForDataset",
        "message": "Dataset/clips has failed; mend that first",
        "advice": "wait for it, or explain it too",
        "holder": None,
    }


def test_a_damaged_completion_is_named(run: Run) -> None:
    path = Path(run.played.store) / "datasets/clips/completion.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"specDigest": ')
    with pytest.raises(StoreError, match=f"{path} is damaged .*delete it and run again"):
        run()
