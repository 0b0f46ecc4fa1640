"""An RL stage on Ray: learner processes by Ray Train, each running the RL loop.

With `RAY_ADDRESS` set (as in a RayJob) the cluster is joined; without, one is started in
processes of this machine and ended afterwards.
"""

import os
import tempfile
from collections.abc import Mapping

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from assay_api import (
    AssayError,
    EngineError,
    InvalidInput,
    JudgeError,
    ResolvedStageJob,
    Split,
    StoreError,
)
from assay_trainer.judge import Judge
from assay_trainer.loops.engines import start_pool
from assay_trainer.loops.parts import StageParts, build_parts
from assay_trainer.loops.prompts import PromptStream, derived_seed, prompt_item
from assay_trainer.loops.ray_cluster import ray_cluster
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.validation import Validator, held_out_sample
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rollout.pool import RolloutPool

_MAX_LEARNER_FAILURES = 2
"""Times that Ray Train starts the learners anew; each goes on from the newest checkpoint."""
_KNOWN_ERRORS: Mapping[str, type[Exception]] = {
    kind.__name__: kind for kind in (InvalidInput, EngineError, JudgeError, StoreError)
}


def run_rl(job: ResolvedStageJob) -> None:
    """Run the stage to its end; what the learners raise is raised here.

    Raises:
        InvalidInput: model or dataset are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    placement = job.stage.spec.placement
    with (
        ray_cluster(placement.learners + placement.rollouts + 1),
        tempfile.TemporaryDirectory(prefix="assay-ray-train-") as scratch,
    ):
        on_gpu = ray.cluster_resources().get("GPU", 0) > 0
        trainer = TorchTrainer(
            _learner_process,
            train_loop_config={"job": job.model_dump_json(by_alias=True)},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=placement.learners, use_gpu=on_gpu),
            run_config=RunConfig(
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=_MAX_LEARNER_FAILURES),
            ),
        )
        try:
            failure = trainer.fit().return_value
        except WorkerGroupError as error:
            raise _known(error) from error
        except TrainingFailedError as error:
            raise EngineError(f"Ray Train gave up: {error}; the checkpoints are kept") from error
    if failure is not None:
        raise _KNOWN_ERRORS.get(failure[0], AssayError)(failure[1])


def _known(error: WorkerGroupError) -> Exception:
    for failure in error.worker_failures.values():
        cause = failure.__cause__ or failure
        if isinstance(cause, (InvalidInput, AssayError)):
            return cause
    return EngineError(f"a learner process failed: {error}; the checkpoints are kept")


def _learner_process(config: Mapping[str, str]) -> tuple[str, str] | None:
    """Run one learner process; a lone one returns its error, for it would only be repeated."""
    job = ResolvedStageJob.model_validate_json(config["job"])
    context = ray.train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    try:
        _run_loop(job, leads=context.get_world_rank() == 0)
    except (InvalidInput, AssayError) as error:
        if context.get_world_size() > 1:
            raise
        return type(error).__name__, str(error)
    return None


def _run_loop(job: ResolvedStageJob, *, leads: bool) -> None:
    spec = job.stage.spec
    assert spec.rl is not None and job.model is not None
    pool = (
        start_pool(job, max_completion_tokens=spec.rl.max_completion_tokens, lora=spec.lora)
        if leads
        else None
    )
    parts = build_parts(job, temperature=spec.rl.temperature)
    prompts = PromptStream(
        parts.dataset.rows(Split.TRAIN), spec.prompt, spec.rl.modes, derived_seed(spec.seed, "rl")
    )
    leader = _leader(parts, pool) if pool is not None else None
    RlLoop(parts, prompts, leader).run()
    if leads:
        parts.publish_model()


def _leader(parts: StageParts, pool: RolloutPool) -> Leader:
    spec = parts.stage.spec
    rl = spec.rl
    assert rl is not None
    judges = {judge.name: Judge(judge) for judge in parts.job.judges}
    for judge in judges.values():
        judge.check()
    held_out = parts.dataset.rows(Split.TEST)
    asked = [
        prompt_item(row, spec.prompt, mode)
        for mode in dict.fromkeys(rl.modes)
        for row in held_out_sample(held_out, rl.validation.max_clips, spec.seed)
    ]
    frames = parts.dataset.frames
    pool.wait_ready()
    return Leader(
        Collector(pool, rl, spec.rewards, judges, frames, derived_seed(spec.seed, "sampling")),
        WeightSync(parts, pool, asked[0], tolerance_nats=rl.logprob_tolerance),
        Validator(pool, asked, judges, frames, max_tokens=rl.max_completion_tokens),
    )
