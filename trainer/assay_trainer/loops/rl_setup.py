"""What the loop of an RL stage is built from: which rows, in which modes, with which seeds."""

from collections.abc import Mapping

from assay_api import Split
from assay_data.dataset.order import derived_seed
from assay_trainer.loops.judge_probe import NUM_ROWS, JudgeProbe, known_reasoning
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.prompts import PromptStream
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.validation import Validator, held_out_sample
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.registry import build_terms
from assay_trainer.rollout.sampler import SamplerPool


def rl_loop(parts: StageParts, pool: SamplerPool | None, judges: Mapping[str, Judging]) -> RlLoop:
    """Return the loop of one learner process; the one that is given the samplers leads.

    Args:
        parts: of this process.
        pool: the samplers, on one rank only.
        judges: by name of the RewardModel.

    Raises:
        JudgeError: a judge cannot be asked.
        InvalidInput: model or dataset are not what an engine needs.
        EngineError: an engine does not start.
    """
    spec = parts.stage.spec
    assert spec.rl is not None
    rows = parts.fitting_rows(Split.TRAIN, spec.rl.modes, spec.rl.max_completion_tokens)
    prompts = PromptStream(rows, parts.prompts, derived_seed(spec.seed, "rl"))
    return RlLoop(parts, prompts, None if pool is None else _leader(parts, pool, judges))


def _leader(parts: StageParts, pool: SamplerPool, judges: Mapping[str, Judging]) -> Leader:
    spec = parts.stage.spec
    rl = spec.rl
    assert rl is not None
    frames = parts.dataset.frames
    terms = build_terms(spec.rewards, judges, frames, parts.answers)
    for judge in judges.values():
        judge.check()
    held_out = parts.fitting_rows(Split.TEST, rl.modes, rl.max_completion_tokens)
    asked = [
        parts.prompts.item(row, mode)
        for mode in dict.fromkeys(rl.modes)
        for row in held_out_sample(held_out, rl.validation.max_clips, spec.seed)
    ]
    known = known_reasoning(held_out_sample(held_out, NUM_ROWS, spec.seed), spec.seed)
    pool.wait_ready()
    return Leader(
        Collector(pool, rl, terms, parts.answers, derived_seed(spec.seed, "sampling")),
        WeightSync(parts, pool, asked[0], rl),
        Validator(pool, asked, judges, frames, parts.answers, max_tokens=rl.max_completion_tokens),
        JudgeProbe(judges, known, spec.prompt.question, frames),
    )
