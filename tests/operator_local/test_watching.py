"""Evaluations with a schedule that look at a stage, from its first checkpoint on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from assay_api import Completion, Evaluation, ResolvedEvaluationJob, WatchedStage
from assay_api.digest import evaluation_digest
from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_api.references import identify
from assay_operator.conditions import Reason, State, verdict_of
from assay_operator.decision import Decision
from assay_operator.observed import Attempt, Finished, Observed
from assay_operator.policies.gates import closed_gate
from assay_operator.reconcile import reconcile

Finish = Callable[..., Observed]

NIGHTLY = ResourceId("Evaluation", "nightly")
FOUNDATION = ResourceId("TrainingStage", "foundation")
TEXT = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: Dataset
metadata: {name: watch}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: base}
spec: {model: {uri: "s3://m"}, dataset: clips, sft: {task: Judge, steps: 4}}
---
kind: TrainingStage
metadata: {name: foundation}
spec:
  model: {fromStage: base}
  dataset: clips
  prompt: {question: "Real? A) yes B) no"}
  lora: {rank: 8}
  sft: {task: Judge, steps: 4}
  placement: {precision: Float32}
---
kind: Evaluation
metadata: {name: nightly}
spec: {model: {fromStage: foundation}, dataset: watch, schedule: "0 3 * * *"}
---
kind: TrainingStage
metadata: {name: advanced}
spec:
  model: {fromStage: base}
  dataset: clips
  sft: {task: Judge, steps: 2}
  gate: [{evaluation: nightly, minAccuracy: 0.7}]
"""


@pytest.fixture
def world() -> Observed:
    resources = parse_manifests(TEXT, "text.yaml")
    return Observed(
        "s3://store", 100.0, {identify(found): found for found in resources}, on_cluster=True
    )


def nightly(observed: Observed) -> Decision:
    return reconcile(observed.resources[NIGHTLY], observed)


def told(observed: Observed) -> WatchedStage:
    (workload,) = nightly(observed).apply
    assert isinstance(workload.orders, ResolvedEvaluationJob)
    assert workload.orders.model is None and workload.orders.watched is not None
    return workload.orders.watched


def result(observed: Observed, model: str = "digest-of-step-2", **summary: Any) -> Observed:
    """Return the world with a newest result, of this evaluation about this model."""
    evaluation = observed.resources[NIGHTLY]
    assert isinstance(evaluation, Evaluation)
    digest = evaluation_digest(evaluation.spec, model, "digest-of-watch")
    newest = Completion(spec_digest=digest, digest=model, result="results/a", summary=summary)
    return replace(observed, newest={NIGHTLY: newest})


def test_it_is_ready_as_soon_as_the_stage_can_have_checkpoints(
    world: Observed, finish: Finish
) -> None:
    for names, reason, message in [
        ((), Reason.WAITING_FOR_DATASET, "Dataset/watch has not finished yet"),
        (
            ("watch", "clips"),
            Reason.WAITING_FOR_STAGE,
            "TrainingStage/foundation has no checkpoint to look at: TrainingStage/base has not "
            "finished yet",
        ),
    ]:
        verdict = verdict_of(nightly(finish(world, *names)).status)
        assert (verdict.state, verdict.reason, verdict.message) == (State.BLOCKED, reason, message)
    decision = nightly(finish(world, "watch", "clips", "base"))
    verdict = verdict_of(decision.status)
    assert (verdict.state, verdict.reason) == (State.READY, Reason.SCHEDULED)
    assert decision.status.is_true("Ready")


def test_its_orders_tell_what_checkpoints_are_loaded_into(world: Observed, finish: Finish) -> None:
    watched = told(finish(world, "watch", "clips", "base"))
    assert (watched.name, watched.url) == ("foundation", "s3://store/stages/foundation")
    start = watched.start
    assert start is not None and start.model is not None and start.lora is not None
    assert start.model.uri == "s3://store/stages/base/model"
    assert start.model.digest == "digest-of-base"
    assert start.dataset == "s3://store/datasets/clips"
    assert start.prompt.question == "Real? A) yes B) no"
    assert (start.lora.rank, start.precision) == (8, "Float32")


def test_its_orders_stay_the_same_while_the_stage_trains_and_ends(
    world: Observed, finish: Finish
) -> None:
    waiting = finish(world, "watch", "clips", "base")
    training = replace(
        waiting,
        attempts={FOUNDATION: (Attempt(1, 90.0, step=2),)},
        last_attempt={FOUNDATION: 1},
        now_seconds=200.0,
    )
    ended = finish(training, "foundation")
    first, second, third = (nightly(observed).apply for observed in (waiting, training, ended))
    assert first == second == third


def test_what_the_stage_started_from_may_be_gone_once_it_has_finished(
    world: Observed, finish: Finish
) -> None:
    ended = finish(world, "watch", "clips", "base", "foundation")
    gone = {i: f for i, f in ended.finished.items() if i.name != "base"}
    assert told(replace(ended, finished=gone)).start is None
    forgotten = {i: r for i, r in ended.resources.items() if i != FOUNDATION}
    assert told(replace(ended, resources=forgotten)).start is None


def test_a_stage_that_is_neither_there_nor_finished_is_waited_for(
    world: Observed, finish: Finish
) -> None:
    there = {i: r for i, r in world.resources.items() if i != FOUNDATION}
    decision = nightly(replace(finish(world, "watch", "clips", "base"), resources=there))
    verdict = verdict_of(decision.status)
    assert (verdict.state, verdict.reason) == (State.BLOCKED, Reason.WAITING_FOR_STAGE)
    assert "apply its manifest too" in verdict.message


def test_on_one_machine_it_runs_once_when_the_stage_has_finished(
    world: Observed, finish: Finish
) -> None:
    here = replace(finish(world, "watch", "clips", "base"), on_cluster=False)
    assert verdict_of(nightly(here).status).state is State.BLOCKED
    (workload,) = nightly(finish(here, "foundation")).apply
    assert isinstance(workload.orders, ResolvedEvaluationJob)
    assert workload.orders.watched is None and workload.orders.model is not None
    assert workload.orders.model.digest == "digest-of-foundation"


def test_the_newest_result_is_shown_with_its_step_and_time(world: Observed, finish: Finish) -> None:
    observed = finish(world, "watch", "clips", "base")
    at = "2026-01-02T03:04:05+00:00"
    shown = nightly(
        result(observed, **{"accuracy/think": 0.75, "step": 2, "evaluated_at": at})
    ).status.model_dump(by_alias=True)
    assert shown["modelDigest"] == "digest-of-step-2"
    assert (shown["step"], shown["evaluatedAt"]) == (2, at)
    assert shown["accuracy"] == {"Think": 0.75}
    assert shown["result"] == "s3://store/evaluations/nightly/results/a"
    assert shown["specDigest"] is None, "it is no proof of an end"


def test_a_result_of_another_spec_is_not_shown(world: Observed, finish: Finish) -> None:
    observed = result(finish(world, "watch", "clips", "base"), **{"accuracy/think": 0.75})
    evaluation = observed.resources[NIGHTLY]
    assert isinstance(evaluation, Evaluation)
    spec = evaluation.spec.model_copy(update={"max_clips": 5})
    changed = evaluation.model_copy(update={"spec": spec})
    other = replace(observed, resources={**observed.resources, NIGHTLY: changed})
    shown = nightly(other).status.model_dump(by_alias=True)
    assert (shown["modelDigest"], shown["accuracy"], shown["result"]) == (None, {}, None)


def test_a_gated_stage_is_told_what_its_evaluation_has(world: Observed, finish: Finish) -> None:
    observed = result(finish(world, "watch", "clips", "base"), step=2)
    gated = observed.resources[ResourceId("TrainingStage", "advanced")]
    verdict = verdict_of(reconcile(gated, observed).status)
    assert (verdict.reason, verdict.message) == (
        Reason.GATE_NOT_PASSED,
        "Evaluation/nightly has no result of the finished model yet; its newest is of step 2",
    )


@pytest.mark.parametrize(
    ("done", "digest", "reason"),
    [
        (("foundation",), None, "has no result yet"),
        ((), "digest-of-foundation", "TrainingStage/foundation, which it speaks of, has not"),
        (("foundation",), "digest-of-step-2", "of another model than that of TrainingStage/found"),
        (("foundation",), "digest-of-foundation", None),
    ],
)
def test_a_gate_opens_only_for_a_result_of_the_finished_model(
    world: Observed, finish: Finish, done: tuple[str, ...], digest: str | None, reason: str | None
) -> None:
    good = {"accuracy/think": 0.9}
    observed = result(finish(world, "watch", "clips", "base", *done), **good)
    if digest is not None:
        proof = Completion(spec_digest="e", digest=digest, result="results/a", summary=good)
        observed = replace(observed, finished={**observed.finished, NIGHTLY: Finished(proof)})
    gated = observed.resources[ResourceId("TrainingStage", "advanced")]
    closed = closed_gate(gated, observed)  # type: ignore[arg-type]
    if reason is None:
        assert closed is None
    else:
        assert closed is not None and reason in closed.message
