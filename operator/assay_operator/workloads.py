"""The workload of each kind of resource: its orders, with every reference replaced. Pure.

What a resource refers to must be finished, and the judges that it asks must answer.
"""

from assay_api import (
    Dataset,
    Evaluation,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    RewardModel,
    TrainingStage,
)
from assay_api.hub import is_hub
from assay_api.references import identify
from assay_operator.decision import Role, Workload
from assay_operator.observed import Observed, ServeOrders
from assay_operator.policies.collection import must_collect
from assay_operator.policies.dependencies import resolve_model
from assay_operator.policies.serving import judges_of, resolve_judge
from assay_operator.policies.watching import watched_id, watched_stage


def dataset_workload(dataset: Dataset, observed: Observed) -> Workload:
    """Return what makes a dataset."""
    owner = identify(dataset)
    orders = ResolvedDatasetJob(dataset=dataset, output=observed.url(owner))
    return Workload(owner, observed.next_attempt(owner), Role.DATASET, orders)


def stage_workload(stage: TrainingStage, observed: Observed) -> Workload:
    """Return what trains a stage, or collects what a fusion stage learns from."""
    owner = identify(stage)
    attempt = observed.next_attempt(owner)
    orders = ResolvedStageJob(
        stage=stage,
        attempt=attempt,
        model=resolve_model(stage.spec.model, observed, owner),
        dataset=observed.dataset_url(stage.spec.dataset),
        judges=tuple(resolve_judge(judge, observed) for judge in judges_of(stage)),
        output=observed.url(owner),
    )
    role = Role.COLLECT if must_collect(stage, observed) else Role.TRAIN
    return Workload(owner, attempt, role, orders)


def evaluation_workload(evaluation: Evaluation, observed: Observed) -> Workload:
    """Return what evaluates a model, once or by a schedule."""
    owner = identify(evaluation)
    # On one machine it runs once, when the stage has finished.
    watched = watched_id(evaluation) if observed.on_cluster else None
    orders = ResolvedEvaluationJob(
        evaluation=evaluation,
        model=None if watched else resolve_model(evaluation.spec.model, observed, owner),
        watched=watched_stage(watched, observed) if watched else None,
        dataset=observed.dataset_url(evaluation.spec.dataset),
        output=observed.url(owner),
    )
    return Workload(owner, observed.next_attempt(owner), Role.EVALUATE, orders)


def serve_workload(judge: RewardModel, observed: Observed) -> Workload:
    """Return what serves a reward model that is not somebody else's."""
    spec, owner = judge.spec, identify(judge)
    assert spec.model is not None, "an endpoint is not served"
    model = resolve_model(spec.model, observed, owner)
    assert model is not None, "a served model has an address"
    orders = ServeOrders(
        name=owner.name,
        # Always as the spec has it: a judge that runs is not started anew when its note is seen.
        model=spec.model.uri or model.uri,
        pin=observed.url(owner) if is_hub(spec.model.uri) else None,
        protocol=spec.protocol,
        num_frames=spec.num_images,
        max_model_length_tokens=spec.max_model_length_tokens,
        precision=spec.precision,
        port=spec.port,
        start_timeout_seconds=spec.start_timeout_seconds,
        pool=spec.pool,
    )
    return Workload(owner, observed.next_attempt(owner), Role.SERVE, orders)
