"""One learner process of an RL stage: builds its parts and runs the loop."""

import os
from typing import Any

import ray.train
import torch

from assay_api import AssayError, InvalidInput, ResolvedStageJob, Split
from assay_trainer.judge import Judge
from assay_trainer.loops.parts import StageParts, build_parts
from assay_trainer.loops.prompts import PromptStream, derived_seed, prompt_item
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.validation import Validator, held_out_sample
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rollout.pool import RolloutPool


def run_learner(config: dict[str, Any]) -> tuple[str, str] | None:
    """Run one learner process; a lone one returns its error, for it would only be repeated."""
    job = ResolvedStageJob.model_validate_json(config["job"])
    context = ray.train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    try:
        _run_loop(job, config["pool"] if context.get_world_rank() == 0 else None)
    except (InvalidInput, AssayError) as error:
        if context.get_world_size() > 1:
            raise
        return type(error).__name__, str(error)
    return None


def _run_loop(job: ResolvedStageJob, pool: RolloutPool | None) -> None:
    """Run the loop; the process that is given the samplers leads."""
    spec = job.stage.spec
    assert spec.rl is not None
    parts = build_parts(job, temperature=spec.rl.temperature)
    prompts = PromptStream(
        parts.dataset.rows(Split.TRAIN), spec.prompt, spec.rl.modes, derived_seed(spec.seed, "rl")
    )
    leader = _leader(parts, pool) if pool is not None else None
    RlLoop(parts, prompts, leader).run()
    if leader is not None:
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
        WeightSync(parts, pool, asked[0], rl),
        Validator(pool, asked, judges, frames, max_tokens=rl.max_completion_tokens),
    )
