"""One learner process of an RL stage: builds its parts, runs the loop, publishes the model."""

from collections.abc import Callable

import torch

from assay_api import ResolvedStageJob
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.publish_model import publish_model
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rewards.judges.judging import PairScorer
from assay_trainer.rewards.judges.verifiers import pair_scorer
from assay_trainer.rollout.sampler import SamplerPool


def run_learner(
    job: ResolvedStageJob, open_pool: Callable[[], SamplerPool] | None, *, threads: int
) -> bool:
    """Run the loop to its end; the process that is given the way to the samplers leads.

    Returns:
        Whether it came to its end; if not, it was asked to stop, and a checkpoint is saved.

    Raises:
        InvalidInput: model or dataset are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    assert job.stage.spec.rl is not None
    torch.set_num_threads(threads)
    parts = build_parts(job, temperature=job.stage.spec.rl.temperature)
    pool = open_pool() if open_pool is not None else None
    verifier = _verifier_of(job)
    judges = {
        judge.name: Judge(judge)
        for judge in job.judges
        if verifier is None or judge.name != verifier.name
    }
    finished = rl_loop(parts, pool, judges, verifier).run()
    if finished and pool is not None:
        publish_model(parts)
    return finished


def _verifier_of(job: ResolvedStageJob) -> PairScorer | None:
    """Return what checks the reasoning, if the stage says so."""
    assert job.stage.spec.rl is not None
    factuality = job.stage.spec.rl.factuality
    if factuality is None:
        return None
    return pair_scorer(next(one for one in job.judges if one.name == factuality.verifier))
