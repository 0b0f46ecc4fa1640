"""What the loop of an RL stage is built from: which rows, in which modes, with which seeds."""

from collections.abc import Mapping

from assay_api import Split
from assay_data.dataset.order import derived_seed
from assay_trainer.families.token_bytes import TokenBytes
from assay_trainer.loops.factual_scoring import FactualScoring
from assay_trainer.loops.judge_probe import NUM_ROWS, JudgeProbe, known_reasoning
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.prompts import PromptStream
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.validation import Validator, held_out_sample
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rewards.factuality import FactualityCheck
from assay_trainer.rewards.judges.judging import Judging, PairScorer
from assay_trainer.rewards.registry import build_terms
from assay_trainer.rollout.sampler import SamplerPool


def rl_loop(
    parts: StageParts,
    pool: SamplerPool | None,
    judges: Mapping[str, Judging],
    verifier: PairScorer | None = None,
) -> RlLoop:
    """Return the loop of one learner process; the one that is given the samplers leads.

    Args:
        parts: of this process.
        pool: the samplers, on one rank only.
        judges: by name of the RewardModel.
        verifier: checks the reasoning, where the stage says so.

    Raises:
        JudgeError: a judge or the verifier cannot be asked.
        InvalidInput: model or dataset are not what an engine needs.
        EngineError: an engine does not start.
    """
    spec = parts.stage.spec
    assert spec.rl is not None
    rows = parts.fitting_rows(Split.TRAIN, spec.rl.modes, spec.rl.max_completion_tokens)
    prompts = PromptStream(rows, parts.prompts, derived_seed(spec.seed, "rl"))
    leader = None if pool is None else _leader(parts, pool, judges, verifier)
    return RlLoop(parts, prompts, leader)


def _leader(
    parts: StageParts,
    pool: SamplerPool,
    judges: Mapping[str, Judging],
    verifier: PairScorer | None,
) -> Leader:
    spec = parts.stage.spec
    rl = spec.rl
    assert rl is not None
    frames = parts.dataset.frames
    terms = build_terms(spec.rewards, judges, frames, parts.answers)
    factual = _factual_scoring(parts, verifier)
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
        Collector(
            pool,
            rl,
            terms,
            parts.answers,
            derived_seed(spec.seed, "sampling"),
            factual=factual,
        ),
        WeightSync(parts, pool, asked[0], rl),
        Validator(
            pool,
            asked,
            judges,
            frames,
            parts.answers,
            max_tokens=rl.max_completion_tokens,
            check=factual.check if factual else None,
        ),
        JudgeProbe(judges, known, spec.prompt.question, frames),
    )


def _factual_scoring(parts: StageParts, verifier: PairScorer | None) -> FactualScoring | None:
    """Return what checks the reasoning, if the stage says so; its verifier must answer."""
    assert parts.stage.spec.rl is not None
    factuality = parts.stage.spec.rl.factuality
    if factuality is None:
        return None
    assert verifier is not None, "the orders hold the verifier that the stage names"
    tokens = TokenBytes(parts.policy.tokenizer)
    verifier.check()
    check = FactualityCheck(
        verifier, factuality, lambda *sample: parts.answers.parse(*sample).well_formed
    )
    return FactualScoring(factuality, check, tokens)
