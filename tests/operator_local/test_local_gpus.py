"""GPUs of one machine: each process has its own, none has another's, too few are refused."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay_api import Completion, InvalidInput
from assay_api.layout import ResourceId
from assay_api.manifests import Resource, parse_manifests
from assay_api.references import identify
from assay_data.store import FolderStore
from assay_operator.decision import Role, Workload
from assay_operator.local.command import command_for
from assay_operator.local.gpus import Gpus, gpus_needed, machine_gpus, too_few, with_room
from assay_operator.local.loop import everything, run_resources
from assay_operator.local.show import Lines
from assay_operator.observed import Attempt, Finished, Observed, ServeOrders

FOUNDATION = ResourceId("TrainingStage", "foundation")
JUDGE = ResourceId("RewardModel", "judge")
TWO_JUDGES = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: RewardModel
metadata: {name: one}
spec: {model: {uri: ./judge}}
---
kind: RewardModel
metadata: {name: two}
spec: {model: {uri: ./judge}}
---
kind: TrainingStage
metadata: {name: first}
spec:
  model: {uri: ./model}
  dataset: clips
  rl: {steps: 40}
  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: one}]
  placement: {learners: 4, rollouts: 3}
---
kind: TrainingStage
metadata: {name: second}
spec:
  model: {uri: ./model}
  dataset: clips
  rl: {steps: 40}
  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: two}]
  placement: {learners: 4, rollouts: 3}
"""


def seen(folder: Path) -> dict[str, str]:
    """Return what the last program of each resource found in CUDA_VISIBLE_DEVICES."""
    return {path.parent.name: path.read_text() for path in folder.glob("*/*/gpus.txt")}


def test_each_process_sees_gpus_of_its_own_and_gives_them_back(
    played: Any, resources: list[Resource]
) -> None:
    store = FolderStore(played.store)
    gpus = Gpus(("4", "5", "7"))
    run_resources(resources, store, Lines(store, io.StringIO()), played.command_for, gpus)
    found = seen(played.store)
    # A learner, a rollout engine and the judge, which runs beside them.
    assert sorted([*found["foundation"].split(","), found["judge"]]) == ["4", "5", "7"]
    assert found["clips"] == ""
    assert {found["judge-training"], found["after"], found["advanced"]} <= {"4", "5", "7"}
    assert gpus.lent == {}


def test_a_machine_without_gpus_is_left_as_it_is(
    played: Any, resources: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    store = FolderStore(played.store)
    run_resources(resources, store, Lines(store, io.StringIO()), played.command_for, Gpus())
    assert set(seen(played.store).values()) == {"unset"}


def test_too_few_gpus_are_refused_with_the_numbers_before_anything_runs(
    played: Any, resources: list[Resource]
) -> None:
    store = FolderStore(played.store)
    with pytest.raises(InvalidInput) as error:
        run_resources(
            resources, store, Lines(store, io.StringIO()), played.command_for, Gpus(("0", "1"))
        )
    assert str(error.value) == (
        "TrainingStage/foundation: field spec.placement: needs 3 GPUs (learners: 1, rollouts: 1, "
        "RewardModel/judge: 1), this run has 2 (CUDA_VISIBLE_DEVICES=0,1): ask for fewer, or run "
        "it where there are more; without GPUs it runs on CPUs (make setup ACCELERATOR=cpu)"
    )
    assert played.runs() == {}


def test_what_is_finished_needs_no_gpus(
    nothing_done: Observed, finish: Callable[..., Observed]
) -> None:
    done = finish(nothing_done, "clips", "judge-training", "foundation")
    assert too_few(nothing_done, Gpus(("0",))) != [] == too_few(done, Gpus(("0",)))


def test_gpus_of_each_kind_of_workload(resources: list[Resource]) -> None:
    by_name = {resource.metadata.name: gpus_needed(resource) for resource in resources}
    assert by_name == {
        "clips": 0,
        "judge-training": 1,
        "judge": 1,
        "foundation": 2,
        "after": 1,
        "advanced": 1,
    }


def test_no_gpu_is_lent_twice() -> None:
    gpus = Gpus(("0", "1", "2"))
    assert gpus.lend(FOUNDATION, 2) == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert gpus.lend(JUDGE, 1) == {"CUDA_VISIBLE_DEVICES": "2"}
    gpus.take_back(FOUNDATION)
    assert gpus.lend(ResourceId("Evaluation", "after"), 1) == {"CUDA_VISIBLE_DEVICES": "0"}
    with pytest.raises(AssertionError):
        gpus.lend(FOUNDATION, 2)


def test_a_judge_does_not_take_the_gpu_that_an_earlier_stage_needs_for_its_next_attempt(
    nothing_done: Observed, finish: Callable[..., Observed]
) -> None:
    # judge-training is between two attempts: the judge of the stage after it must not come first.
    ready = finish(nothing_done, "clips", "judge-training")
    judge = serve(JUDGE)
    assert with_room([judge], ready, 3) == [judge]
    earlier = replace(nothing_done, finished={})
    assert with_room([judge], earlier, 3) == []
    assert with_room([judge], earlier, 0) == [judge]


def test_of_two_judges_one_waits_where_neither_stage_would_fit_beside_both() -> None:
    wanted = {identify(r): r for r in everything(parse_manifests(TWO_JUDGES, "two.yaml"))}
    observed = Observed("file:///store", 100.0, wanted)
    observed = with_clips(observed)
    one, two = (serve(ResourceId("RewardModel", name)) for name in ("one", "two"))
    assert with_room([one, two], observed, 8) == [one]
    assert with_room([one, two], observed, 9) == [one, two]
    served = replace(observed, attempts={one.owner: (Attempt(1, 0.0),)})
    assert with_room([two], served, 8) == []


def with_clips(observed: Observed) -> Observed:
    done = Finished(Completion(spec_digest="s", digest="d", result="."))
    return replace(observed, finished={ResourceId("Dataset", "clips"): done})


def serve(judge: ResourceId) -> Workload:
    orders = ServeOrders(
        name=judge.name,
        model="m",
        num_frames=4,
        max_model_length_tokens=8192,
        precision="BFloat16",
        port=0,
        start_timeout_seconds=60,
    )
    return Workload(judge, 1, Role.SERVE, orders)


def test_a_judge_with_a_gpu_of_its_own_uses_most_of_it() -> None:
    argv = command_for(serve(JUDGE), Path("orders.json"), on_gpu=True).argv
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.9"
    assert "--enforce-eager" not in argv


@pytest.fixture
def built_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay_operator.local.gpus.built_for_gpus", lambda: True)


def listing(folder: Path, text: str) -> str:
    """Make a program that plays nvidia-smi; return the PATH on which it is found."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\n{text}\n")
    program.chmod(0o755)
    return str(folder)


def test_the_gpus_are_those_that_the_user_or_the_driver_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built_for_gpus: None
) -> None:
    monkeypatch.setenv("PATH", listing(tmp_path, "print('0\\n1\\n2')"))
    assert machine_gpus({}).ids == ("0", "1", "2")
    assert machine_gpus({"CUDA_VISIBLE_DEVICES": "2,0"}).ids == ("2", "0")
    assert machine_gpus({"CUDA_VISIBLE_DEVICES": ""}) == Gpus()
    monkeypatch.setenv("PATH", "")
    assert machine_gpus({}) == Gpus()


def test_a_driver_that_does_not_answer_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    built_for_gpus: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PATH", listing(tmp_path, "raise SystemExit(9)"))
    assert machine_gpus({}) == Gpus()
    assert "lists no GPUs" in caplog.text


def test_what_is_built_for_cpus_hides_the_gpus_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # vLLM is installed here under the name of its CPU build.
    monkeypatch.setenv("PATH", listing(tmp_path, "print('0')"))
    found = machine_gpus({})
    assert found.lend(FOUNDATION, 2) == {"CUDA_VISIBLE_DEVICES": ""}
    assert "make setup ACCELERATOR=gpu" in caplog.text
