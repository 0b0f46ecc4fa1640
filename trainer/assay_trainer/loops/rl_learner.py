"""One learner process of an RL stage: builds its parts and runs the loop."""

from collections.abc import Callable

import torch

from assay_api import ResolvedStageJob, Split
from assay_data.dataset.order import derived_seed
from assay_trainer.loops.judge_probe import NUM_ROWS, JudgeProbe, known_reasoning
from assay_trainer.loops.parts import StageParts, build_parts
from assay_trainer.loops.prompts import PromptStream, prompt_item
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.validation import Validator, held_out_sample
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rollout.pool import RolloutPool


def run_learner(
    job: ResolvedStageJob, open_pool: Callable[[], RolloutPool] | None, *, threads: int
) -> bool:
    """Run the loop to its end; the process that is given the way to the samplers leads.

    Returns:
        Whether it came to its end; if not, it was asked to stop, and a checkpoint is saved.

    Raises:
        InvalidInput: model or dataset are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    spec = job.stage.spec
    assert spec.rl is not None
    torch.set_num_threads(threads)
    parts = build_parts(job, temperature=spec.rl.temperature)
    prompts = PromptStream(
        parts.dataset.rows(Split.TRAIN), spec.prompt, spec.rl.modes, derived_seed(spec.seed, "rl")
    )
    leader = _leader(parts, open_pool()) if open_pool is not None else None
    finished = RlLoop(parts, prompts, leader).run()
    if finished and leader is not None:
        parts.publish_model()
    return finished


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
    known = known_reasoning(held_out_sample(held_out, NUM_ROWS, spec.seed), spec.seed)
    pool.wait_ready()
    return Leader(
        Collector(pool, rl, spec.rewards, judges, frames, derived_seed(spec.seed, "sampling")),
        WeightSync(parts, pool, asked[0], rl),
        Validator(pool, asked, judges, frames, max_tokens=rl.max_completion_tokens),
        JudgeProbe(judges, known, spec.prompt.question, frames),
    )
