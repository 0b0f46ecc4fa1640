"""What an evaluation or a served judge needs: one inference engine, alone in a pod."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from assay_api import Dataset, Evaluation, TrainingStage
from assay_api.gpu_memory import BYTES_OF
from assay_api.layout import ResourceId
from assay_api.platform import NodePool
from assay_api.prompt import BUSTERX_PROMPT
from assay_api.references import identify
from assay_api.reward_model import RewardModel
from assay_operator.sizing.assumptions import (
    JUDGE_TOKENS,
    Assumptions,
    prompt_tokens,
    text_tokens,
)
from assay_operator.sizing.disk import dataset_copy, logs, model_copy
from assay_operator.sizing.host import Disk, HostPlan, engine_host
from assay_operator.sizing.rollout import EngineJob, EnginePlan, plan_engine
from assay_operator.sizing.shape import ModelShape
from assay_operator.sizing.split import EVALUATION, JUDGES, Split, equal_pods, split
from assay_operator.sizing.stage_plan import trained_of
from assay_operator.sizing.terms import GIB, Term
from assay_operator.sizing.visual import clip_of

_SCORE_TOKENS = 16
"""A judge's answer: a score."""
_SPARE_TOKENS = 8
"""That an evaluation adds to its longest prompt."""


@dataclass(frozen=True, slots=True)
class EnginePodPlan:
    """What the pod of an evaluation or of a judge needs, and what there is."""

    owner: ResourceId
    """The Evaluation or the RewardModel."""
    pool_name: str
    job: EngineJob
    engine: EnginePlan | None
    """How it uses its GPU; None on CPUs."""
    host: HostPlan
    split: Split
    """Its pod, and those of the judges that are served meanwhile."""
    context_problems: tuple[str, ...] = ()
    """Requests that are longer than the model's context."""

    @property
    def problems(self) -> list[str]:
        """Why it cannot run there, with the numbers; empty when it can."""
        gpu = [] if self.engine is None else [f"GPU: {p}" for p in self.engine.problems]
        return [*gpu, *self.host.problems, *self.split.problems, *self.context_problems]


def plan_evaluation(
    evaluation: Evaluation,
    dataset: Dataset,
    stage: TrainingStage | None,
    shape: ModelShape,
    pool: NodePool,
    assumed: Assumptions,
    *,
    judges: int,
    shared_cache_bytes: int | None,
) -> EnginePodPlan:
    """Return what an evaluation needs of its pool.

    Args:
        evaluation: the evaluation.
        dataset: what it asks about, for the frame plan.
        stage: the stage that makes its model, whose prompt it asks; None: that is not known.
        shape: the sizes of its model.
        pool: the node pool; without GPUs everything is in the memory of the host.
        assumed: what nothing else says.
        judges: reward models that the pool serves meanwhile, for the stage after it.
        shared_cache_bytes: size of the cache that pods share; None: each has its own.
    """
    spec, clip = evaluation.spec, clip_of(dataset, assumed.frame_size)
    text = prompt_tokens(stage.spec.prompt if stage is not None else BUSTERX_PROMPT)
    job = EngineJob(
        shape=shape,
        number_bytes=BYTES_OF[spec.precision],
        tensor_parallel=1,
        prompt_tokens=clip.tokens + clip.marks + text + _SPARE_TOKENS,
        completion_tokens=spec.max_completion_tokens,
        group_size=1,
    )
    model, own = _model(job), [logs()]
    if spec.schedule is not None and stage is not None:
        size = model.num_bytes + trained_of(stage, shape)[1] * job.number_bytes
        own.append(Term("checkpoint, its model", size, "of the stage while it trains"))
    disk = Disk(tuple(own), (model, dataset_copy(dataset, assumed)))
    host = _host(EVALUATION, job, disk, pool, shared_cache_bytes)
    return _plan(identify(evaluation), spec.pool, job, host, judges)


def plan_judge(
    judge: RewardModel,
    askers: Iterable[tuple[TrainingStage, Dataset]],
    shape: ModelShape,
    pool: NodePool,
    assumed: Assumptions,
    *,
    shared_cache_bytes: int | None,
) -> EnginePodPlan:
    """Return what a served reward model needs of its pool.

    Args:
        judge: the reward model.
        askers: the stages that ask it, with their datasets: they say how long requests are.
        shape: the sizes of its model.
        pool: the node pool.
        assumed: what nothing else says.
        shared_cache_bytes: size of the cache that pods share; None: each has its own.
    """
    context = judge.spec.max_model_length_tokens
    requests = {
        stage.metadata.name: _request_tokens(judge, stage, dataset, assumed)
        for stage, dataset in askers
    }
    job = EngineJob(
        shape=shape,
        number_bytes=BYTES_OF[judge.spec.precision],
        tensor_parallel=1,
        prompt_tokens=min(context, max(requests.values(), default=context)) - _SCORE_TOKENS,
        completion_tokens=_SCORE_TOKENS,
        group_size=1,
        context_tokens=context,
    )
    too_long = tuple(
        f"maxModelLengthTokens: a request of TrainingStage/{name} has up to {tokens:,} tokens, "
        f"{context:,} are allowed"
        for name, tokens in requests.items()
        if tokens > context
    )
    host = _host(JUDGES, job, Disk((logs(),), (_model(job),)), pool, shared_cache_bytes)
    found = _plan(identify(judge), judge.spec.pool, job, host)
    return replace(found, context_problems=too_long)


def _request_tokens(
    judge: RewardModel, stage: TrainingStage, dataset: Dataset, assumed: Assumptions
) -> int:
    """Return the tokens of a stage's longest request: frames, question, what is judged, a score."""
    images = 0
    if judge.spec.num_images:
        clip = clip_of(dataset, assumed.frame_size, judge.spec.num_images)
        images = clip.tokens + clip.marks
    judged = stage.spec.rl.max_completion_tokens if stage.spec.rl else assumed.example_tokens
    return images + text_tokens(stage.spec.prompt.question) + JUDGE_TOKENS + judged + _SCORE_TOKENS


def _model(job: EngineJob) -> Term:
    return model_copy(job.shape.parameters * job.number_bytes)


def _host(
    what: str, job: EngineJob, disk: Disk, pool: NodePool, shared_cache_bytes: int | None
) -> HostPlan:
    on_gpu, own = pool.gpus_per_node > 0, equal_pods(what, 1, 1, pool)
    parts, shm = engine_host(1, on_gpu=on_gpu, exported_bytes=0)
    if not on_gpu:
        parts = (*parts, Term("engine", job.cpu_bytes, "without GPUs: weights and cache"))
    share = split((own,), pool).share(own)
    return HostPlan(what, parts, shm, disk, pool, share, shared_cache_bytes)


def _plan(
    owner: ResourceId, pool_name: str, job: EngineJob, host: HostPlan, judges: int = 0
) -> EnginePodPlan:
    pool = host.pool
    pods = (equal_pods(host.what, 1, 1, pool), *(equal_pods(JUDGES, 1, 1, pool),) * judges)
    return EnginePodPlan(
        owner=owner,
        pool_name=pool_name,
        job=job,
        engine=plan_engine(job, int(pool.gpu_memory_gib * GIB)) if pool.gpus_per_node else None,
        host=host,
        split=split(pods, pool),
    )
