"""The plans of all training stages among some resources."""

from collections.abc import Sequence

from assay_api import Dataset, InvalidInput, TrainingStage
from assay_api.manifests import Resource
from assay_api.pipeline import TrainingPipeline
from assay_api.platform import NodePool, Platform
from assay_api.problems import did_you_mean
from assay_api.reward_model import RewardModel
from assay_operator.pipelines import expand
from assay_operator.sizing.advice import advice
from assay_operator.sizing.assumptions import Assumptions
from assay_operator.sizing.model_lookup import ModelSizes
from assay_operator.sizing.shape import BYTES_OF, ModelShape
from assay_operator.sizing.stage_plan import Judge, StagePlan, plan_stage


def plan_resources(
    resources: Sequence[Resource],
    platform: Platform,
    assumed: Assumptions,
    config: ModelShape | None = None,
) -> list[tuple[StagePlan, list[str]]]:
    """Return the plan of each training stage, and what to change where one does not fit.

    Args:
        resources: what the manifests say; pipelines stand for their stages.
        platform: the node pools.
        assumed: what neither of them says.
        config: sizes of models that nothing else tells.

    Raises:
        InvalidInput: there is no stage, no such pool, or a model's sizes are not known.
    """
    stages = _stages(resources)
    if not stages:
        raise InvalidInput(
            "nothing to plan: the manifests have no TrainingStage and no TrainingPipeline"
        )
    sizes = ModelSizes({stage.metadata.name: stage.spec.model for stage in stages}, config)
    datasets = {r.metadata.name: r for r in resources if isinstance(r, Dataset)}
    planned = []
    for stage in stages:
        owner = f"TrainingStage/{stage.metadata.name}"
        dataset = datasets.get(stage.spec.dataset)
        if dataset is None:
            raise InvalidInput(
                f"{owner}: field spec.dataset: {stage.spec.dataset!r} is in none of the files; its "
                "frame plan decides how long prompts are: add its manifest with -f"
            )
        pool = _pool(stage, platform)
        shape = sizes.of(stage.spec.model, owner)
        judges = _judges(stage, resources, sizes, platform)

        def plan(
            stage: TrainingStage,
            dataset: Dataset,
            shape: ModelShape = shape,
            pool: NodePool = pool,
            judges: Sequence[Judge] = judges,
        ) -> StagePlan:
            return plan_stage(stage, dataset, shape, pool, judges, assumed)

        found = plan(stage, dataset)
        planned.append((found, advice(stage, dataset, plan) if found.problems else []))
    return planned


def _stages(resources: Sequence[Resource]) -> list[TrainingStage]:
    stages: list[TrainingStage] = []
    for resource in resources:
        if isinstance(resource, TrainingStage):
            stages.append(resource)
        elif isinstance(resource, TrainingPipeline):
            stages += expand(resource)
    return stages


def _pool(stage: TrainingStage, platform: Platform) -> NodePool:
    """Return the stage's pool; where the image is built for CPUs its GPUs do not count."""
    field = f"TrainingStage/{stage.metadata.name}: field spec.placement.pool"
    pool = _named_pool(stage.spec.placement.pool, platform, field)
    if platform.accelerator == "Cpu":
        return pool.model_copy(update={"gpus_per_node": 0})
    return pool


def _named_pool(name: str, platform: Platform, field: str) -> NodePool:
    pools = platform.node_pools
    if name not in pools:
        allowed = ", ".join(sorted(pools))
        raise InvalidInput(
            f"{field}: no node pool {name!r}; there are: {allowed}{did_you_mean(name, pools)}"
        )
    if platform.accelerator == "Gpu" and not pools[name].gpus_per_node:
        having = ", ".join(sorted(n for n, p in pools.items() if p.gpus_per_node))
        raise InvalidInput(
            f"{field}: node pool {name!r} has no GPUs, and the trainer image is built for them; "
            f"pools with GPUs: {having or 'none'}"
        )
    return pools[name]


def _judges(
    stage: TrainingStage, resources: Sequence[Resource], sizes: ModelSizes, platform: Platform
) -> tuple[Judge, ...]:
    """Return the reward models that the stage asks and that are served beside it."""
    asked = {reward.reward_model for reward in stage.spec.rewards if reward.reward_model}
    return tuple(
        Judge(
            name=r.metadata.name,
            shape=sizes.of(r.spec.model, f"RewardModel/{r.metadata.name}"),
            number_bytes=BYTES_OF[r.spec.precision],
            context_tokens=r.spec.max_model_length_tokens,
            gpu_gib=_named_pool(
                r.spec.pool, platform, f"RewardModel/{r.metadata.name}: spec.pool"
            ).gpu_memory_gib,
            beside=r.spec.pool == stage.spec.placement.pool,
        )
        for r in resources
        if isinstance(r, RewardModel) and r.metadata.name in asked and r.spec.model is not None
    )
