"""The plans of everything among some resources that runs a model: stages, judges, evaluations."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from assay_api import Dataset, Evaluation, InvalidInput, TrainingStage
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.pipeline import TrainingPipeline
from assay_api.platform import NodePool, Platform
from assay_api.problems import did_you_mean
from assay_api.references import identify
from assay_api.reward_model import RewardModel
from assay_operator.children.placement import KEPT_FREE
from assay_operator.pipelines import expand
from assay_operator.policies.dependencies import inputs_of
from assay_operator.policies.serving import judges_of
from assay_operator.sizing.advice import advice
from assay_operator.sizing.assumptions import Assumptions
from assay_operator.sizing.engine_pod import EnginePodPlan, plan_evaluation, plan_judge
from assay_operator.sizing.host import HostPlan
from assay_operator.sizing.model_lookup import ModelSizes
from assay_operator.sizing.shape import ModelShape
from assay_operator.sizing.split import Split
from assay_operator.sizing.stage_plan import StagePlan, plan_stage
from assay_operator.sizing.terms import GIB

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moment:
    """What lies on a pool's nodes while one resource runs."""

    owner: ResourceId
    """The resource."""
    pool_name: str
    split: Split
    """Its pods, and the judges that are served meanwhile."""
    disk_bytes: int
    """What they write on the node that they write most on, a shared cache left out."""


@dataclass(frozen=True, slots=True)
class RecipePlan:
    """The plans of some resources."""

    stages: tuple[tuple[StagePlan, list[str]], ...]
    """Each training stage, and what to change where it does not fit."""
    engines: tuple[EnginePodPlan, ...]
    """Served judges, then evaluations."""

    @property
    def problems(self) -> dict[str, list[str]]:
        """What does not fit, by resource, with the numbers."""
        found = {f"TrainingStage/{p.stage.metadata.name}": p.problems for p, _ in self.stages}
        found |= {str(pod.owner): pod.problems for pod in self.engines}
        return {name: problems for name, problems in found.items() if problems}

    @property
    def moments(self) -> list[Moment]:
        """What is there at once, resource after resource; a judge's pod is with those it serves."""
        judges = [pod.host for pod in self.engines if pod.owner.kind == "RewardModel"]
        found = [
            (identify(plan.stage), plan.stage.spec.placement.pool, plan.split, plan.hosts)
            for plan, _ in self.stages
        ]
        found += [
            (pod.owner, pod.pool_name, pod.split, (pod.host,))
            for pod in self.engines
            if pod.owner.kind == "Evaluation"
        ]
        return [
            Moment(owner, pool, split, _most_on_a_node(split, (*judges, *hosts)))
            for owner, pool, split, hosts in found
        ]


def _most_on_a_node(split: Split, hosts: Iterable[HostPlan]) -> int:
    """Return the bytes that pods write on the node on which they write most; judges are alike."""
    most: dict[str, int] = {}
    for host in hosts:
        most[host.what] = max(host.disk_bytes, most.get(host.what, 0))
    return max((sum(most[what] for what in node) for node in split.placed), default=0)


def plan_resources(
    resources: Sequence[Resource],
    platform: Platform,
    assumed: Assumptions,
    config: ModelShape | None = None,
) -> RecipePlan:
    """Return the plans of all stages, served judges and evaluations.

    Args:
        resources: what the manifests say; pipelines stand for their stages.
        platform: the node pools.
        assumed: what neither of them says.
        config: sizes of models that nothing else tells.

    Raises:
        InvalidInput: there is nothing to plan, no such pool or dataset, or a model's sizes are not
            known.
    """
    found = {identify(r): r for r in _expanded(resources)}
    stages = [r for r in found.values() if isinstance(r, TrainingStage)]
    judges = [r for r in found.values() if isinstance(r, RewardModel) and r.spec.model is not None]
    evaluations = [r for r in found.values() if isinstance(r, Evaluation)]
    if not (stages or judges or evaluations):
        raise InvalidInput(
            "nothing to plan: the manifests have no TrainingStage, TrainingPipeline, Evaluation or "
            "served RewardModel"
        )
    sizes = ModelSizes({stage.metadata.name: stage.spec.model for stage in stages}, config)
    planner = _Planner(found, platform, sizes, assumed)
    return RecipePlan(
        stages=tuple(planner.stage(stage) for stage in stages),
        engines=(
            *(planner.judge(judge) for judge in judges if _is_planned(judge)),
            *(planner.evaluation(evaluation) for evaluation in evaluations),
        ),
    )


def _is_planned(judge: RewardModel) -> bool:
    """Tell whether a judge's needs are computed: not those of a verifier, which has no cache."""
    if judge.spec.protocol != "Pairs":
        return True
    _LOG.warning(
        "%s: spec.protocol: Pairs: its memory is not planned; give its pool room for its weights "
        "and 2 GiB (HHEM-2.1-Open: 0.5 GB in Float32)",
        identify(judge),
    )
    return False


def _expanded(resources: Sequence[Resource]) -> list[Resource]:
    found: list[Resource] = []
    for resource in resources:
        found += expand(resource) if isinstance(resource, TrainingPipeline) else [resource]
    return found


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans one resource among all of them."""

    found: Mapping[ResourceId, Resource]
    platform: Platform
    sizes: ModelSizes
    assumed: Assumptions

    def stage(self, stage: TrainingStage) -> tuple[StagePlan, list[str]]:
        """Return a stage's plan, and what to change where it does not fit."""
        owner, field = identify(stage), "spec.placement.pool"
        dataset = self._dataset(owner, stage.spec.dataset)
        pool = self._pool(owner, field, stage.spec.placement.pool)
        shape = self.sizes.of(stage.spec.model, str(owner))
        judges = self._judges_beside(owner, stage.spec.placement.pool)

        def plan(stage: TrainingStage, dataset: Dataset) -> StagePlan:
            return plan_stage(
                stage,
                dataset,
                shape,
                pool,
                self.assumed,
                judges=judges,
                shared_cache_bytes=self._shared_cache(),
            )

        planned = plan(stage, dataset)
        return planned, advice(stage, dataset, plan) if planned.problems else []

    def evaluation(self, evaluation: Evaluation) -> EnginePodPlan:
        """Return an evaluation's plan."""
        owner, spec = identify(evaluation), evaluation.spec
        stage = self.found.get(ResourceId("TrainingStage", spec.model.from_stage or ""))
        return plan_evaluation(
            evaluation,
            self._dataset(owner, spec.dataset),
            stage if isinstance(stage, TrainingStage) else None,
            self.sizes.of(spec.model, str(owner)),
            self._pool(owner, "spec.pool", spec.pool),
            self.assumed,
            judges=self._judges_beside(owner, spec.pool),
            shared_cache_bytes=self._shared_cache(),
        )

    def judge(self, judge: RewardModel) -> EnginePodPlan:
        """Return a served reward model's plan."""
        owner = identify(judge)
        assert judge.spec.model is not None, "an endpoint is not served"
        askers = [
            (stage, self._dataset(identify(stage), stage.spec.dataset))
            for stage in self.found.values()
            if isinstance(stage, TrainingStage) and owner in judges_of(stage)
        ]
        shape = self.sizes.of(judge.spec.model, str(owner))
        pool = self._pool(owner, "spec.pool", judge.spec.pool)
        return plan_judge(
            judge, askers, shape, pool, self.assumed, shared_cache_bytes=self._shared_cache()
        )

    def _shared_cache(self) -> int | None:
        cache = self.platform.cache
        return int(cache.size_gib * GIB) if cache else None

    def _judges_beside(self, owner: ResourceId, pool: str) -> int:
        """Return how many reward models a pool serves while a resource runs.

        Those that it asks, and those of stages that come next: they are to be ready by then.
        """
        stages = [stage for stage in self.found.values() if isinstance(stage, TrainingStage)]
        asking = [s for s in stages if identify(s) == owner or owner in inputs_of(s)]
        judges = {judge for stage in asking for judge in judges_of(stage)}
        return sum(self._is_served(judge, owner, pool) for judge in judges)

    def _is_served(self, judge: ResourceId, during: ResourceId, pool: str) -> bool:
        found = self.found.get(judge)
        return (
            isinstance(found, RewardModel)
            and found.spec.model is not None
            and found.spec.pool == pool
            and during not in inputs_of(found)
        )

    def _dataset(self, owner: ResourceId, name: str) -> Dataset:
        dataset = self.found.get(ResourceId("Dataset", name))
        if isinstance(dataset, Dataset):
            return dataset
        raise InvalidInput(
            f"{owner}: field spec.dataset: {name!r} is in none of the files; its frame plan "
            "decides how long prompts are: add its manifest with -f"
        )

    def _pool(self, owner: ResourceId, field: str, name: str) -> NodePool:
        """Return a pool as its workloads with GPUs see it.

        Where the image is built for CPUs its GPUs do not count; of nodes with GPUs a part is kept
        for pods without, if there are such.
        """
        pools, on_gpu = self.platform.node_pools, self.platform.accelerator == "Gpu"
        if name not in pools:
            allowed = ", ".join(sorted(pools))
            raise InvalidInput(
                f"{owner}: field {field}: no node pool {name!r}; there are: {allowed}"
                f"{did_you_mean(name, pools)}"
            )
        pool = pools[name]
        if not on_gpu:
            return pool.model_copy(update={"gpus_per_node": 0})
        if not pool.gpus_per_node:
            having = ", ".join(sorted(n for n, p in pools.items() if p.gpus_per_node))
            raise InvalidInput(
                f"{owner}: field {field}: node pool {name!r} has no GPUs, and the trainer image is "
                f"built for them; pools with GPUs: {having or 'none'}"
            )
        if name != self.platform.cpu_pool:
            return pool
        left = 1 - KEPT_FREE
        shared = ("memory_gib", "shm_gib", "disk_gib")
        return pool.model_copy(update={name: getattr(pool, name) * left for name in shared})
