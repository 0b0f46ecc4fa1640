"""The rules of the operator, each as a table."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from assay_api.layout import ResourceId
from assay_api.running import Retry
from assay_operator.observed import Attempt, Finished, Observed
from assay_operator.policies.attempts import (
    FailureClass,
    classify,
    current_failure,
    describe_exit,
    pause_seconds,
)
from assay_operator.policies.completion import outstays
from assay_operator.policies.gates import closed_gate
from assay_operator.policies.identity import refusals
from assay_operator.policies.serving import has_unfinished_consumer, is_needed

JUDGE = ResourceId("RewardModel", "judge")
FOUNDATION = ResourceId("TrainingStage", "foundation")
ADVANCED = ResourceId("TrainingStage", "advanced")

Finish = Callable[..., Observed]


def ended(number: int, exit_code: int, **more: object) -> Attempt:
    return Attempt(number, 0.0, 10.0, exit_code, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exit_code", "served", "expected"),
    [
        (1, False, FailureClass.APPLICATION),
        (2, False, FailureClass.INPUT),
        (0, False, FailureClass.APPLICATION),
        (-9, False, FailureClass.INFRASTRUCTURE),
        (-15, False, FailureClass.INFRASTRUCTURE),
        (-11, False, FailureClass.INFRASTRUCTURE),
        (143, False, FailureClass.INFRASTRUCTURE),
        (1, True, FailureClass.INFRASTRUCTURE),
        (None, False, FailureClass.INFRASTRUCTURE),
    ],
)
def test_whose_fault_an_exit_is(
    exit_code: int | None, served: bool, expected: FailureClass
) -> None:
    assert classify(exit_code, served) is expected


@pytest.mark.parametrize(
    ("attempts", "retry", "final"),
    [
        ([ended(1, 1)], Retry(), True),
        ([ended(1, 1)], Retry(application=1), False),
        ([ended(1, 1), ended(2, 1)], Retry(application=1), True),
        ([ended(1, 2)], Retry(application=9), True),
        ([ended(1, -9)], Retry(), False),
        ([ended(1, -9)], Retry(infrastructure=0), True),
        ([ended(n, -9) for n in range(1, 7)], Retry(), True),
        ([ended(1, -9, step=3), ended(2, -9, step=3)], Retry(), True),
        ([ended(1, -9, step=3), ended(2, -9, step=4)], Retry(), False),
        ([ended(1, 1), ended(2, -9)], Retry(application=1), False),
        ([ended(1, -15, stopped=True, ready_by_seconds=5.0)], Retry(), True),
        ([ended(1, 1, url="http://x/v1", ready_by_seconds=5.0)], Retry(), False),
    ],
)
def test_whether_a_failure_is_final(attempts: list[Attempt], retry: Retry, final: bool) -> None:
    failure = current_failure(attempts, retry)
    assert failure is not None and failure.final is final


@pytest.mark.parametrize(
    "attempts",
    [
        [],
        [Attempt(1, 0.0)],
        [ended(1, -9), Attempt(2, 11.0)],
        [ended(1, -15, stopped=True)],
        [ended(1, -15, stopped=True, ready_by_seconds=50.0)],
    ],
)
def test_what_lives_or_was_stopped_has_not_failed(attempts: list[Attempt]) -> None:
    assert current_failure(attempts, Retry()) is None


def test_pauses_double() -> None:
    pauses = []
    for count in range(1, 9):
        failure = current_failure([ended(n, -9) for n in range(count)], Retry())
        assert failure is not None
        pauses.append(pause_seconds(failure, now_seconds=10.0))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pause_seconds(failure, now_seconds=100.0) == 0


def test_a_failure_is_told_with_its_budget() -> None:
    failure = current_failure([ended(3, -9)], Retry(infrastructure=5))
    assert failure is not None
    assert (
        failure.text
        == "attempt 3 was killed by SIGKILL (infrastructure failure 1; 5 are tried again)"
    )
    assert describe_exit(-99) == "was killed by signal 99"


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ({"accuracy/think": 0.7}, None),
        ({"accuracy/think": 0.69}, "has accuracy 0.690 in mode Think, minAccuracy is 0.7"),
        ({"accuracy/no_think": 0.9}, "has no accuracy of the mode Think"),
        (None, "has no result yet"),
    ],
)
def test_a_gate_opens_only_for_a_result_that_passes(
    nothing_done: Observed, finish: Finish, summary: dict[str, float] | None, reason: str | None
) -> None:
    observed = finish(nothing_done, "clips", "judge-training", "foundation")
    if summary is not None:
        observed = finish(observed, "after", **summary)
    closed = closed_gate(observed.resources[ADVANCED], observed)  # type: ignore[arg-type]
    if reason is None:
        assert closed is None
    else:
        assert closed is not None and f"Evaluation/after {reason}" in closed.message


def running(observed: Observed, kind: str, name: str) -> Observed:
    attempts = {**observed.attempts, ResourceId(kind, name): (Attempt(1, 0.0),)}
    return replace(observed, attempts=attempts)


def test_a_judge_is_served_from_when_its_stage_is_next(
    nothing_done: Observed, finish: Finish
) -> None:
    data_runs = running(nothing_done, "Dataset", "clips")
    data_done = finish(nothing_done, "clips")
    both_done = finish(data_done, "judge-training")
    stage_done = finish(both_done, "foundation")
    worlds = [nothing_done, data_runs, data_done, both_done, stage_done]
    assert [is_needed(JUDGE, world) for world in worlds] == [False, True, True, True, False]
    assert [has_unfinished_consumer(JUDGE, world) for world in worlds] == [True] * 4 + [False]


def test_a_judge_is_not_served_for_a_stage_that_failed(
    nothing_done: Observed, finish: Finish
) -> None:
    observed = finish(nothing_done, "clips", "judge-training")
    failed = replace(observed, attempts={FOUNDATION: (ended(1, 1),)})
    assert not is_needed(JUDGE, failed)


def test_finished_with_another_spec_is_refused_with_the_field(
    nothing_done: Observed, finish: Finish
) -> None:
    from assay_api import ResolvedStageJob

    observed = finish(nothing_done, "clips", "judge-training", "foundation")
    stage = observed.resources[FOUNDATION]
    job = ResolvedStageJob(stage=stage, attempt=1, model=None, dataset="d", output="o")  # type: ignore[arg-type]
    longer = stage.spec.model_copy(update={"rl": stage.spec.rl.model_copy(update={"steps": 60})})  # type: ignore[union-attr]
    changed = replace(
        observed,
        resources={**observed.resources, FOUNDATION: stage.model_copy(update={"spec": longer})},
        finished={
            **observed.finished,
            FOUNDATION: Finished(observed.finished[FOUNDATION].completion, job),
        },
    )
    assert refusals(observed) == []
    assert refusals(changed) == [
        "stage foundation in file:///store was finished with another spec "
        "(spec.rl.steps: 40, now 60): give another name or store, or delete stages/foundation"
    ]


def test_a_stage_made_from_another_dataset_is_refused(
    nothing_done: Observed, finish: Finish
) -> None:
    observed = finish(nothing_done, "clips", "judge-training", "foundation")
    clips = ResourceId("Dataset", "clips")
    other = observed.finished[clips].completion.model_copy(update={"digest": "other"})
    remade = replace(observed, finished={**observed.finished, clips: Finished(other)})
    assert [line.split(" in ")[0] for line in refusals(remade)] == [
        "stage judge-training",
        "stage foundation",
    ]
    assert "or other inputs)" in refusals(remade)[0]


def test_a_finished_workload_that_hangs_outstays_its_patience(
    nothing_done: Observed, finish: Finish
) -> None:
    clips = ResourceId("Dataset", "clips")
    observed = running(finish(nothing_done, "clips"), "Dataset", "clips")
    assert not outstays(clips, replace(observed, now_seconds=20.0))
    assert outstays(clips, replace(observed, now_seconds=20.1))
