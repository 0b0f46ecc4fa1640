"""What reconcile decides, state by state."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from assay_api import ResolvedStageJob, RewardModel, TrainingPipeline, TrainingStage
from assay_api.judge_prompt import SOPHIAVL_PROMPT
from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_api.references import AFTER_ANNOTATION, identify
from assay_operator.conditions import verdict_of
from assay_operator.decision import Decision
from assay_operator.local.loop import everything
from assay_operator.observed import Attempt, Observed
from assay_operator.pipelines import expand
from assay_operator.policies.serving import resolve_judge
from assay_operator.reconcile import reconcile

CLIPS = ResourceId("Dataset", "clips")
JUDGE = ResourceId("RewardModel", "judge")
FOUNDATION = ResourceId("TrainingStage", "foundation")
ADVANCED = ResourceId("TrainingStage", "advanced")
URL = "http://127.0.0.1:5000/v1"

Finish = Callable[..., Observed]


def decide(observed: Observed, resource: ResourceId) -> Decision:
    return reconcile(observed.resources[resource], observed)


def story(observed: Observed, resource: ResourceId) -> tuple[str, str, str]:
    verdict = verdict_of(decide(observed, resource).status)
    return verdict.state, verdict.reason, verdict.message


def with_attempts(observed: Observed, **attempts: tuple[Attempt, ...]) -> Observed:
    ids = {id_.name: id_ for id_ in observed.resources}
    found = {ids[name]: attempt for name, attempt in attempts.items()}
    return replace(
        observed,
        attempts={**observed.attempts, **found},
        last_attempt={id_: tried[-1].number for id_, tried in found.items()},
    )


def test_what_a_stage_waits_for_is_told_in_turn(nothing_done: Observed, finish: Finish) -> None:
    data = finish(nothing_done, "clips")
    judged = finish(data, "judge-training")
    served = with_attempts(judged, judge=(Attempt(1, 0.0, url=URL, ready_by_seconds=20.0),))
    running = with_attempts(served, foundation=(Attempt(1, 0.0, step=3),))
    done = finish(served, "foundation")
    assert [story(w, FOUNDATION) for w in (nothing_done, data, judged, served, running, done)] == [
        ("Blocked", "WaitingForDataset", "Dataset/clips has not finished yet"),
        ("Blocked", "WaitingForRewardModel", "RewardModel/judge is starting"),
        ("Blocked", "WaitingForRewardModel", "RewardModel/judge is starting"),
        ("Pending", "Due", "attempt 1 is due"),
        ("Running", "Running", "attempt 1 runs"),
        ("Succeeded", "Completed", ""),
    ]


def test_orders_hold_addresses_and_digests_instead_of_names(
    nothing_done: Observed, finish: Finish
) -> None:
    observed = finish(nothing_done, "clips", "judge-training")
    observed = with_attempts(observed, judge=(Attempt(1, 0.0, url=URL),))
    (workload,) = decide(observed, FOUNDATION).apply
    assert isinstance(workload.orders, ResolvedStageJob)
    assert workload.name == "trainingstage-foundation-a1"
    assert workload.orders.dataset == "file:///store/datasets/clips"
    assert workload.orders.output == "file:///store/stages/foundation"
    assert workload.orders.model is not None and workload.orders.model.uri == "./model"
    assert [(judge.url, judge.model) for judge in workload.orders.judges] == [(URL, "judge")]
    observed = finish(observed, "foundation")
    (evaluation,) = decide(observed, ResourceId("Evaluation", "after")).apply
    model = evaluation.orders.model  # type: ignore[union-attr]
    assert (model.uri, model.digest) == (  # type: ignore[union-attr]
        "file:///store/stages/foundation/model",
        "digest-of-foundation",
    )


@pytest.mark.parametrize(
    ("now", "attempts", "expected"),
    [
        (100.0, (Attempt(1, 0.0, 100.0, -9),), ("Pending", "Retrying", 0)),
        (101.0, (Attempt(1, 0.0, 100.0, -9),), ("Pending", "Due", 1)),
        (101.0, (Attempt(1, 0.0, 100.0, 1),), ("Failed", "RetriesExhausted", 0)),
        (101.0, (Attempt(1, 0.0, 100.0, 2),), ("Failed", "InputRefused", 0)),
        (101.0, (Attempt(1, 0.0, 100.0, 0),), ("Failed", "RetriesExhausted", 0)),
        (101.0, (Attempt(1, 0.0),), ("Running", "Running", 0)),
    ],
)
def test_an_ended_attempt_is_retried_or_final(
    nothing_done: Observed,
    now: float,
    attempts: tuple[Attempt, ...],
    expected: tuple[str, str, int],
) -> None:
    observed = replace(with_attempts(nothing_done, clips=attempts), now_seconds=now)
    state, reason, _ = story(observed, CLIPS)
    assert (state, reason, len(decide(observed, CLIPS).apply)) == expected


def test_a_retry_has_a_new_number_and_is_told(nothing_done: Observed) -> None:
    observed = with_attempts(nothing_done, clips=(Attempt(7, 0.0, 99.5, -9),))
    decision = decide(observed, CLIPS)
    assert decision.requeue_after == 0.5
    assert [event.message for event in decision.events] == [
        "attempt 7 was killed by SIGKILL (infrastructure failure 1; 5 are tried again)"
    ]
    (workload,) = decide(replace(observed, now_seconds=101.0), CLIPS).apply
    assert workload.attempt == 8


def test_a_dependant_of_what_failed_says_so(nothing_done: Observed) -> None:
    observed = with_attempts(nothing_done, clips=(Attempt(1, 0.0, 90.0, 1),))
    assert story(observed, FOUNDATION) == (
        "Blocked",
        "WaitingForDataset",
        "Dataset/clips has failed; mend that first",
    )


def test_a_suspended_stage_is_stopped_and_rests(nothing_done: Observed, finish: Finish) -> None:
    observed = finish(nothing_done, "clips")
    stage = observed.resources[FOUNDATION]
    resting = stage.model_copy(update={"spec": stage.spec.model_copy(update={"suspend": True})})
    observed = replace(observed, resources={**observed.resources, FOUNDATION: resting})
    running = with_attempts(observed, foundation=(Attempt(1, 0.0),))
    assert decide(running, FOUNDATION).delete == (FOUNDATION,)
    assert decide(observed, FOUNDATION).apply == ()
    assert story(observed, FOUNDATION)[:2] == ("Blocked", "Suspended")
    assert story(observed, ADVANCED)[2] == (
        "TrainingStage/foundation is suspended; set its spec.suspend to false"
    )


def test_a_server_that_is_not_ready_in_time_is_stopped_and_has_failed(
    nothing_done: Observed, finish: Finish
) -> None:
    observed = finish(nothing_done, "clips", "judge-training")
    late = with_attempts(observed, judge=(Attempt(1, 0.0, ready_by_seconds=20.0),))
    assert decide(late, JUDGE).delete == (JUDGE,)
    gone = with_attempts(
        observed, judge=(Attempt(1, 0.0, 25.0, -15, stopped=True, ready_by_seconds=20.0),)
    )
    assert story(gone, JUDGE) == (
        "Failed",
        "RetriesExhausted",
        "attempt 1 was not ready within spec.startTimeoutSeconds "
        "(application failure 1; 0 are tried again)",
    )
    assert story(gone, FOUNDATION)[2] == "RewardModel/judge has failed; mend that first"


def test_a_server_is_stopped_when_nobody_asks_it_any_more(
    nothing_done: Observed, finish: Finish
) -> None:
    observed = finish(nothing_done, "clips", "judge-training", "foundation")
    observed = with_attempts(observed, judge=(Attempt(1, 0.0, url=URL),))
    assert decide(observed, JUDGE).delete == (JUDGE,)
    assert story(observed, JUDGE)[:2] == ("Stopped", "NotNeeded")


def test_conditions_follow_the_conventions(nothing_done: Observed, finish: Finish) -> None:
    status = decide(finish(nothing_done, "clips"), CLIPS).status
    assert {c.type: c.status for c in status.conditions} == {
        "Ready": "True",
        "Succeeded": "True",
        "Blocked": "False",
        "Failed": "False",
    }
    assert {c.observed_generation for c in status.conditions} == {status.observed_generation} == {1}


PIPELINE = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingPipeline
metadata: {name: busterx}
spec:
  stages:
  - name: one
    spec: {model: {uri: ./m}, dataset: clips, sft: {task: Judge, steps: 1}}
  - name: two
    spec: {model: {fromStage: one}, dataset: clips, sft: {task: Judge, steps: 1}}
  - name: three
    spec: {model: {uri: ./m}, dataset: clips, sft: {task: Judge, steps: 1}}
"""


def test_a_pipeline_is_its_stages_one_after_the_other() -> None:
    pipeline = parse_manifests(PIPELINE, "p.yaml")[1]
    assert isinstance(pipeline, TrainingPipeline)
    stages = expand(pipeline)
    assert [stage.metadata.name for stage in stages] == [
        "busterx-one",
        "busterx-two",
        "busterx-three",
    ]
    assert stages[1].spec.model.from_stage == "busterx-one"
    assert [stage.metadata.annotations.get(AFTER_ANNOTATION) for stage in stages] == [
        None,
        "busterx-one",
        "busterx-two",
    ]


def test_a_pipeline_stands_where_its_first_unfinished_stage_does(finish: Finish) -> None:
    wanted = everything(parse_manifests(PIPELINE, "p.yaml"))
    observed = Observed("file:///store", 100.0, {identify(r): r for r in wanted})
    pipeline = ResourceId("TrainingPipeline", "busterx")
    assert [str(id_) for id_ in observed.resources][-1] == "TrainingPipeline/busterx"
    assert story(observed, pipeline)[:2] == ("Blocked", "WaitingForDataset")
    observed = finish(observed, "clips", "busterx-one")
    assert story(observed, pipeline) == (
        "Pending",
        "Due",
        "TrainingStage/busterx-two: attempt 1 is due",
    )
    assert story(observed, ResourceId("TrainingStage", "busterx-three"))[2] == (
        "TrainingStage/busterx-two has not finished yet"
    )
    observed = finish(observed, "busterx-two", "busterx-three")
    assert story(observed, pipeline)[0] == "Succeeded"


@pytest.mark.parametrize(
    ("told", "taught", "asked"),
    [
        (None, None, SOPHIAVL_PROMPT),
        (None, "Taught: {images} {reasoning}", "Taught: {images} {reasoning}"),
        (
            "Told: {images} {reasoning}",
            "Taught: {images} {reasoning}",
            "Told: {images} {reasoning}",
        ),
    ],
)
@pytest.mark.parametrize("applied", [True, False])
def test_a_judge_is_asked_as_it_says_or_as_it_was_taught(
    nothing_done: Observed,
    finish: Finish,
    told: str | None,
    taught: str | None,
    asked: str,
    applied: bool,
) -> None:
    stage_id = ResourceId("TrainingStage", "judge-training")
    judge, stage = nothing_done.resources[JUDGE], nothing_done.resources[stage_id]
    assert isinstance(judge, RewardModel) and isinstance(stage, TrainingStage) and stage.spec.sft
    sft = stage.spec.sft.model_copy(update={"prompt_template": taught})
    spec = stage.spec.model_copy(update={"sft": sft})
    stage = stage.model_copy(update={"spec": spec})
    spec_of_judge = judge.spec.model_copy(update={"prompt_template": told})
    judge = judge.model_copy(update={"spec": spec_of_judge})
    resources = {**nothing_done.resources, JUDGE: judge, stage_id: stage}
    observed = finish(replace(nothing_done, resources=resources), "clips", "judge-training")
    observed = with_attempts(observed, judge=(Attempt(1, 0.0, url=URL),))
    if not applied:
        done = observed.finished[stage_id]
        orders = {"stage": stage, "attempt": 1, "model": None, "dataset": "d", "output": "o"}
        job = ResolvedStageJob.model_validate(orders)
        kept = {id_: one for id_, one in observed.resources.items() if id_ != stage_id}
        finished = {**observed.finished, stage_id: replace(done, job=job)}
        observed = replace(observed, resources=kept, finished=finished)
    assert resolve_judge(JUDGE, observed).prompt_template == asked
