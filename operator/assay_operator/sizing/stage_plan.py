"""One stage on one pool: all of its memory and time, and whether it fits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assay_api import Dataset, TrainingStage
from assay_api.gpu_memory import BYTES_OF
from assay_api.platform import NodePool
from assay_operator.sizing.activations import MicroBatch, Trained
from assay_operator.sizing.assumptions import JUDGE_TOKENS, Assumptions, prompt_tokens
from assay_operator.sizing.disk import (
    checkpoint_copy,
    dataset_copy,
    logs,
    model_copy,
    written_by_learners,
)
from assay_operator.sizing.host import Disk, HostPlan, engine_host, learner_host
from assay_operator.sizing.learner import LearnerJob, groups_in, learner_terms
from assay_operator.sizing.rollout import EngineJob, EnginePlan, plan_engine
from assay_operator.sizing.shape import ModelShape
from assay_operator.sizing.split import JUDGES, LEARNERS, ROLLOUTS, Pods, Split, equal_pods, split
from assay_operator.sizing.step_time import StepTime, learn_seconds, rollout_seconds
from assay_operator.sizing.terms import GIB, Moment, Term, peak
from assay_operator.sizing.visual import clip_of


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What a stage needs, and what there is."""

    stage: TrainingStage
    learner: LearnerJob
    learner_terms: tuple[Term, ...]
    learner_available: int
    """Bytes of a GPU less the reserve; on CPUs 0: learners share the host's memory."""
    rollout: EnginePlan | None
    """Each of its rollout engines; None: it has none, or they run on CPUs."""
    hosts: tuple[HostPlan, ...]
    split: Split
    """Its pods, and those of the judges that are served meanwhile."""
    time: StepTime | None
    """None on CPUs: there is no assumption to make one of."""

    @property
    def learner_peak(self) -> tuple[Moment, int]:
        """When a learner holds most, and how many bytes."""
        return peak(self.learner_terms)

    @property
    def problems(self) -> list[str]:
        """Why the stage cannot run there, with the numbers; empty when it can."""
        found = []
        moment, needed = self.learner_peak
        if self.learner_available and needed > self.learner_available:
            found.append(
                f"learner GPU: {needed / GIB:.1f} GiB are needed ({moment}), "
                f"{self.learner_available / GIB:.1f} GiB are there"
            )
        if self.rollout is not None:
            found += [f"rollout GPU: {problem}" for problem in self.rollout.problems]
        for host in self.hosts:
            found += host.problems
        return found + self.split.problems


def plan_stage(
    stage: TrainingStage,
    dataset: Dataset,
    shape: ModelShape,
    pool: NodePool,
    assumed: Assumptions,
    *,
    judges: int,
    shared_cache_bytes: int | None,
) -> StagePlan:
    """Return what the stage needs of the pool.

    Args:
        stage: the stage.
        dataset: its dataset, for the frame plan.
        shape: the sizes of its model.
        pool: the node pool; without GPUs everything runs in the memory of the hosts.
        assumed: what neither of them says.
        judges: reward models that the pool serves while the stage runs.
        shared_cache_bytes: size of the cache that pods share; None: each has its own.
    """
    spec = stage.spec
    on_gpu = pool.gpus_per_node > 0
    learner = replace(_learner(stage, dataset, shape, assumed), on_gpu=on_gpu)
    terms = tuple(learner_terms(learner))
    rollouts = _rollouts(stage, learner)
    gpu_bytes = int(pool.gpu_memory_gib * GIB)
    rollout = plan_engine(rollouts, gpu_bytes) if rollouts is not None and on_gpu else None
    kinds = _pods(stage, pool)
    # Fusion collects first, then trains on the same GPUs.
    own = kinds if spec.fusion is None else (max(kinds, key=lambda p: p.count * p.gpus),)
    divided = split((*own, *(equal_pods(JUDGES, 1, 1, pool),) * judges), pool)
    time = None
    if on_gpu:
        sequences = rollout.sequences if rollout is not None else 0
        time = _time(stage, learner, rollouts, sequences, assumed)
    told = _Hosts(
        sends=spec.rl is not None,
        rollouts=rollouts,
        dataset=dataset_copy(dataset, assumed),
        shared_cache_bytes=shared_cache_bytes,
    )
    return StagePlan(
        stage=stage,
        learner=learner,
        learner_terms=terms,
        learner_available=int(gpu_bytes - assumed.reserve_gib * GIB) if on_gpu else 0,
        rollout=rollout,
        hosts=tuple(_host(told, learner, terms, pods, divided) for pods in kinds),
        split=divided,
        time=time,
    )


def _learner(
    stage: TrainingStage, dataset: Dataset, shape: ModelShape, assumed: Assumptions
) -> LearnerJob:
    spec, placement = stage.spec, stage.spec.placement
    as_images = spec.sft.frames_as_images if spec.sft else 0
    clip = clip_of(dataset, assumed.frame_size, as_images)
    text = prompt_tokens(spec.prompt)
    if as_images:
        text += JUDGE_TOKENS + assumed.example_tokens
    if spec.rl is not None:
        # Ranks take groups in turn; the first has most.
        rows = math.ceil(spec.rl.prompts_per_step / placement.learners) * spec.rl.group_size
        group_size, completion = spec.rl.group_size, spec.rl.max_completion_tokens
    else:
        batch = spec.sft or spec.fusion
        assert batch is not None
        rows, group_size = batch.examples_per_step // placement.learners, 1
        fused = spec.fusion
        completion = fused.max_completion_tokens if fused else assumed.example_tokens
    micro = min(placement.micro_batch, rows)
    trained, count = trained_of(stage, shape)
    return LearnerJob(
        shape=shape,
        number_bytes=BYTES_OF[placement.precision],
        frozen_copy=bool(spec.rl and spec.rl.loss.kl) and spec.lora is None,
        trained=trained,
        trained_parameters=count,
        zero_stage=placement.zero_stage,
        learners=placement.learners,
        batch=MicroBatch(
            rows=micro,
            groups=groups_in(micro, group_size),
            prompt_tokens=clip.tokens + clip.marks + text,
            completion_tokens=completion,
        ),
        micro_batches=math.ceil(rows / micro),
        clips=rows // group_size,
        clip=clip,
    )


def trained_of(stage: TrainingStage, shape: ModelShape) -> tuple[Trained, int]:
    """Return what is trained, and how many parameters that is."""
    spec = stage.spec
    if spec.lora is not None:
        trained = Trained(full=False, vision=False, targets=spec.lora.targets, rank=spec.lora.rank)
        return trained, shape.lora_parameters(spec.lora.rank, spec.lora.targets)
    vision = not spec.freeze_vision_tower
    count = shape.text_parameters + (shape.vision_parameters if vision else 0)
    return Trained(full=True, vision=vision), count


def _rollouts(stage: TrainingStage, learner: LearnerJob) -> EngineJob | None:
    spec = stage.spec
    if spec.sft is not None:
        return None
    size = spec.rl.group_size if spec.rl else spec.fusion.samples_per_clip if spec.fusion else 1
    return EngineJob(
        shape=learner.shape,
        number_bytes=learner.number_bytes,
        tensor_parallel=spec.placement.gpus_per_rollout,
        prompt_tokens=learner.batch.prompt_tokens,
        completion_tokens=learner.batch.completion_tokens,
        group_size=size,
        # Fusion samples the model that it starts from.
        lora_rank=spec.lora.rank if spec.lora and spec.rl else 0,
    )


def _pods(stage: TrainingStage, pool: NodePool) -> tuple[Pods, ...]:
    """Return the pods of the stage itself."""
    placement = stage.spec.placement
    learners = equal_pods(LEARNERS, placement.learners, 1, pool)
    if stage.spec.sft is not None:
        return (learners,)
    engines = equal_pods(ROLLOUTS, placement.rollouts, placement.gpus_per_rollout, pool)
    return (learners, engines)


@dataclass(frozen=True, slots=True)
class _Hosts:
    """What the hosts of a stage depend on besides its learners."""

    sends: bool
    """Whether samplers are sent new weights."""
    rollouts: EngineJob | None
    dataset: Term
    """The copy of its dataset."""
    shared_cache_bytes: int | None


def _host(
    plan: _Hosts, learner: LearnerJob, terms: Sequence[Term], pods: Pods, divided: Split
) -> HostPlan:
    model = learner.shape.parameters * learner.number_bytes
    copies: tuple[Term, ...] = (model_copy(model), plan.dataset)
    own: tuple[Term, ...] = (logs(),)
    exported = 0
    if plan.sends:
        adapters = learner.trained_parameters * learner.number_bytes
        exported = adapters if learner.trained.rank else model
    if pods.what == LEARNERS:
        parts, shm = learner_host(
            pods.processes,
            on_gpu=learner.on_gpu,
            model_bytes=model,
            trained_bytes=learner.trained_parameters * learner.number_bytes,
            exported_bytes=exported,
            pixel_bytes=learner.clips * learner.clip.pixel_bytes,
        )
        held = peak(terms)[1]
        trained, s = learner.trained_parameters, learner.number_bytes
        copies = (*copies, checkpoint_copy(trained, s))
        own = written_by_learners(model, trained, s)
    else:
        assert plan.rollouts is not None, "it has rollout engines"
        parts, shm = engine_host(pods.processes, on_gpu=learner.on_gpu, exported_bytes=exported)
        held = plan.rollouts.cpu_bytes
    if not pods.gpus:
        why = "without GPUs: weights, states, activations, cache"
        parts = (*parts, Term(pods.what, pods.processes * held, why))
    return HostPlan(
        what=pods.what,
        terms=parts,
        shm_bytes=shm,
        disk=Disk(own, copies),
        pool=divided.pool,
        share=divided.share(pods),
        shared_cache_bytes=plan.shared_cache_bytes,
    )


def _time(
    stage: TrainingStage,
    learner: LearnerJob,
    rollouts: EngineJob | None,
    sequences: int,
    assumed: Assumptions,
) -> StepTime:
    learn = learn_seconds(learner, assumed.speeds)
    rl = stage.spec.rl
    if rollouts is None or rl is None:
        return StepTime(prefill=0, decode=0, learn=learn, tokens_per_second=0)
    prompts = rl.prompts_per_step / stage.spec.placement.rollouts
    prefill, decode, rate = rollout_seconds(
        rollouts, sequences, prompts, learner.clip.tokens, assumed.speeds
    )
    return StepTime(prefill=prefill, decode=decode, learn=learn, tokens_per_second=rate)
