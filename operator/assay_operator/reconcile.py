"""Reconcile: what is wanted and what is, in; what to do, out. Pure.

Every pass decides anew from one look at the world, so that a lost event, a crash between two
actions or a second pass over the same state changes nothing.
"""

from dataclasses import replace

from assay_api import (
    Dataset,
    Evaluation,
    RewardModel,
    TrainingPipeline,
    TrainingStage,
)
from assay_api.base import Status
from assay_api.manifests import Resource
from assay_api.references import identify, pipeline_stage_id
from assay_operator.conditions import Reason, State, Verdict, verdict_of
from assay_operator.decision import Decision, Workload
from assay_operator.observed import Observed
from assay_operator.pipelines import expand
from assay_operator.plan import Plan, failed, keep_schedule, retrying, run_to_end
from assay_operator.policies.attempts import pause_seconds
from assay_operator.policies.completion import failure_of
from assay_operator.policies.dependencies import waiting_for_inputs
from assay_operator.policies.gates import closed_gate
from assay_operator.policies.serving import (
    has_unfinished_consumer,
    is_needed,
    judge_url,
    waiting_for_judges,
)
from assay_operator.statuses import (
    dataset_status,
    evaluation_status,
    pipeline_status,
    reward_model_status,
    stage_status,
)
from assay_operator.workloads import (
    dataset_workload,
    evaluation_workload,
    serve_workload,
    stage_workload,
)


def reconcile(resource: Resource, observed: Observed) -> Decision:
    """Return what to do about any resource."""
    match resource:
        case Dataset():
            return reconcile_dataset(resource, observed)
        case TrainingStage():
            return reconcile_stage(resource, observed)
        case Evaluation():
            return reconcile_evaluation(resource, observed)
        case RewardModel():
            return reconcile_reward_model(resource, observed)
        case TrainingPipeline():
            return reconcile_pipeline(resource, observed)


def reconcile_dataset(dataset: Dataset, observed: Observed) -> Decision:
    """Return what to do about a dataset: it needs nothing, and is made once."""

    def workload() -> Workload:
        return dataset_workload(dataset, observed)

    plan = run_to_end(dataset, observed, blocked=lambda: None, workload=workload)
    return _decision(plan, dataset_status(dataset, plan.verdict, observed))


def reconcile_stage(stage: TrainingStage, observed: Observed) -> Decision:
    """Return what to do about a stage: its inputs, then its gates, then its judges, then it."""

    def blocked() -> Verdict | None:
        return (
            waiting_for_inputs(stage, observed)
            or closed_gate(stage, observed)
            or waiting_for_judges(stage, observed)
        )

    plan = run_to_end(
        stage, observed, blocked=blocked, workload=lambda: stage_workload(stage, observed)
    )
    return _decision(plan, stage_status(stage, plan.verdict, observed))


def reconcile_evaluation(evaluation: Evaluation, observed: Observed) -> Decision:
    """Return what to do about an evaluation: it needs its model and its dataset."""

    def workload() -> Workload:
        return evaluation_workload(evaluation, observed)

    if observed.on_cluster and evaluation.spec.schedule is not None:
        plan = keep_schedule(evaluation, observed, workload)
        return _decision(plan, evaluation_status(evaluation, plan.verdict, observed))
    plan = run_to_end(
        evaluation,
        observed,
        blocked=lambda: waiting_for_inputs(evaluation, observed),
        workload=workload,
    )
    return _decision(plan, evaluation_status(evaluation, plan.verdict, observed))


def reconcile_reward_model(judge: RewardModel, observed: Observed) -> Decision:
    """Return what to do about a reward model: it is served while a stage that is next asks it."""
    plan = _plan_serving(judge, observed)
    return _decision(plan, reward_model_status(judge, plan.verdict, observed))


def _plan_serving(judge: RewardModel, observed: Observed) -> Plan:
    owner = identify(judge)
    live = observed.live_attempt(owner)

    # Somebody else serves it.
    if judge.spec.endpoint:
        return Plan(Verdict(State.READY, Reason.SERVING, f"at {judge.spec.endpoint.url}"))

    # Failed for good.
    failure = failure_of(owner, observed)
    if failure and failure.final:
        return failed(failure)

    # Nobody will ask it, or not yet.
    if not is_needed(owner, observed):
        return Plan(_unneeded(judge, observed), delete=(owner,) if live else ())

    # Its model is not there yet.
    blocked = waiting_for_inputs(judge, observed)
    if blocked:
        return Plan(blocked)

    # Running: ready, starting, or late. A cluster's server is brought up to date as well.
    if live:
        plan = _plan_live_server(judge, observed)
        kept = (serve_workload(judge, observed),) if observed.on_cluster else ()
        return replace(plan, apply=kept)

    # Died a moment ago.
    if failure and (pause := pause_seconds(failure, observed.now_seconds)):
        return retrying(failure, pause)

    # Due.
    started = serve_workload(judge, observed)
    verdict = Verdict(State.PENDING, Reason.DUE, f"attempt {started.attempt} is due")
    return Plan(verdict, apply=(started,))


def _unneeded(judge: RewardModel, observed: Observed) -> Verdict:
    if not has_unfinished_consumer(identify(judge), observed):
        return Verdict(State.STOPPED, Reason.NOT_NEEDED, "no stage that asks it has still to run")
    waiting = waiting_for_inputs(judge, observed)
    later = Verdict(State.BLOCKED, Reason.WAITING_FOR_STAGE, "no stage that asks it is next")
    return waiting or later


def _plan_live_server(judge: RewardModel, observed: Observed) -> Plan:
    owner = identify(judge)
    attempt, url = observed.live_attempt(owner), judge_url(owner, observed)
    assert attempt is not None, "the caller has looked"
    if url:
        return Plan(Verdict(State.READY, Reason.SERVING, f"at {url}"))
    if attempt.stuck:
        return Plan(attempt.stuck)
    starting = Verdict(State.RUNNING, Reason.STARTING, f"attempt {attempt.number} is not ready yet")
    late = attempt.is_late(observed.now_seconds)
    return Plan(starting, delete=(owner,) if late else (), requeue_after=1.0)


def reconcile_pipeline(pipeline: TrainingPipeline, observed: Observed) -> Decision:
    """Return where a pipeline stands: as the first of its stages that has not succeeded."""
    verdict = Verdict(State.SUCCEEDED, Reason.COMPLETED)
    stages = [reconcile_stage(stage, observed).status for stage in expand(pipeline)]
    for part, status in zip(pipeline.spec.stages, stages, strict=True):
        found = verdict_of(status)
        if found.state is not State.SUCCEEDED:
            stage = pipeline_stage_id(pipeline.metadata.name, part.name)
            verdict = Verdict(found.state, found.reason, f"{stage}: {found.message}")
            break
    return Decision(pipeline_status(pipeline, verdict, stages))


def _decision(plan: Plan, status: Status) -> Decision:
    return Decision(status, plan.apply, plan.delete, plan.stop, plan.events, plan.requeue_after)
