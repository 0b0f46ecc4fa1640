"""Preview: the workloads of resources as if all that they wait for were finished.

What only a finished input can tell, its digest, stays unset: nothing is made up. A model that a
stage makes is the address at which it will lie.
"""

from collections.abc import Mapping, Sequence

from assay_api import (
    Dataset,
    Evaluation,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedModel,
    ResolvedStageJob,
    RewardModel,
    TrainingStage,
)
from assay_api.base import ModelRef, ModelSource
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify, references_of
from assay_api.resolved import ResolvedJudge
from assay_operator.children.owner import judge_url
from assay_operator.decision import Role, Workload
from assay_operator.observed import ServeOrders

MODEL_FOLDER = "model"
"""Where in a stage's folder its result lies."""


def preview(resource: Resource, resources: Sequence[Resource], store: str) -> tuple[Workload, ...]:
    """Return the workloads that a resource becomes, in the order in which they run.

    Args:
        resource: the resource; a pipeline has none of its own, its stages have.
        resources: all resources, for the reward models that stages ask.
        store: URL of the installation's store; the resource's namespace lies in it.
    """
    root = f"{store.rstrip('/')}/{resource.metadata.namespace}"
    owner = identify(resource)
    match resource:
        case Dataset():
            made = ResolvedDatasetJob(dataset=resource, output=_url(root, owner))
            return (Workload(owner, 1, Role.DATASET, made),)
        case TrainingStage():
            return _stage(resource, root, {identify(r): r for r in resources})
        case Evaluation():
            model = _model(resource.spec.model, root)
            assert model is not None, "an evaluated model has an address"
            evaluated = ResolvedEvaluationJob(
                evaluation=resource,
                model=model,
                dataset=_dataset(resource.spec.dataset, root),
                output=_url(root, owner),
            )
            return (Workload(owner, 1, Role.EVALUATE, evaluated),)
        case RewardModel() if resource.spec.model is not None:
            return (_serve(resource, resource.spec.model, root),)
        case _:
            return ()


def _stage(
    stage: TrainingStage, root: str, resources: Mapping[ResourceId, Resource]
) -> tuple[Workload, ...]:
    owner, namespace = identify(stage), stage.metadata.namespace
    targets = dict.fromkeys(reference.target for reference in references_of(stage))
    judges = [resources[target] for target in targets if target.kind == "RewardModel"]
    roles = (Role.COLLECT, Role.TRAIN) if stage.spec.fusion is not None else (Role.TRAIN,)
    return tuple(
        Workload(
            owner,
            attempt,
            role,
            ResolvedStageJob(
                stage=stage,
                attempt=attempt,
                model=_model(stage.spec.model, root),
                dataset=_dataset(stage.spec.dataset, root),
                judges=tuple(_judge(j, namespace) for j in judges if isinstance(j, RewardModel)),
                output=_url(root, owner),
            ),
        )
        for attempt, role in enumerate(roles, start=1)
    )


def _judge(judge: RewardModel, namespace: str) -> ResolvedJudge:
    spec, name = judge.spec, judge.metadata.name
    return ResolvedJudge(
        name=name,
        url=spec.endpoint.url if spec.endpoint else judge_url(name, namespace),
        model=spec.endpoint.model if spec.endpoint else name,
        num_frames=spec.num_frames,
        concurrency=spec.concurrency,
        timeout_seconds=spec.timeout_seconds,
        retries=spec.retries,
    )


def _serve(judge: RewardModel, model: ModelRef, root: str) -> Workload:
    spec, owner = judge.spec, identify(judge)
    served = _model(model, root)
    assert served is not None, "a served model has an address"
    orders = ServeOrders(
        name=owner.name,
        model=served.uri,
        num_frames=spec.num_frames,
        max_model_length_tokens=spec.max_model_length_tokens,
        precision=spec.precision,
        port=spec.port,
        start_timeout_seconds=spec.start_timeout_seconds,
        pool=spec.pool,
    )
    return Workload(owner, 1, Role.SERVE, orders)


def _model(source: ModelSource | ModelRef, root: str) -> ResolvedModel | None:
    if source.uri is not None:
        return ResolvedModel(uri=source.uri)
    if source.from_stage is None:
        return None
    stage = ResourceId("TrainingStage", source.from_stage)
    return ResolvedModel(uri=f"{_url(root, stage)}/{MODEL_FOLDER}")


def _dataset(name: str, root: str) -> str:
    return _url(root, ResourceId("Dataset", name))


def _url(root: str, resource: ResourceId) -> str:
    return f"{root}/{resource.folder}"
