"""One step of RL with played engines: every number of it is worked out by hand."""

from collections.abc import Callable, Sequence

import pytest
from played_engines import PlayedLearner, PlayedPool, played_parts, said

from assay_api import ResolvedStageJob
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.metrics_log import read_metrics
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

REAL, FAKE = "<think>hm</think><answer>A</answer>", "<think>hm</think><answer>B</answer>"


def test_a_step_learns_what_is_worked_out_by_hand(
    played_orders: Callable[..., ResolvedStageJob],
) -> None:
    """Each clip has one right answer of two tokens and one wrong one of one token."""

    def script(request: ClipRequest, plan: SamplingPlan) -> Sequence[Sample]:
        right, wrong = (REAL, FAKE) if "real" in request.row_id else (FAKE, REAL)
        if plan.temperature == 0:
            return [said(right, [-1.0], token_ids=[10])]
        answers = [said(wrong, [-1.0], token_ids=[9]), said(right, [-1.0, -1.0], token_ids=[5, 6])]
        return answers[: plan.num_samples]

    job = played_orders(
        rl={"steps": 1, "promptsPerStep": 2, "groupSize": 2},
        rewards=[{"type": "Accuracy"}],
    )
    pool, learner = PlayedPool(script), PlayedLearner()
    parts = played_parts(job, learner)
    assert rl_loop(parts, pool, {}).run()

    (((learned),),) = learner.updates
    assert learned.completions == [[9], [5, 6], [9], [5, 6]]
    # Rewards 0 and 1: each half a point from the mean, the standard deviation is sqrt(1/2).
    share = 0.5 / 0.5**0.5 / 6
    wrong, right = [share], [-share, -share]
    assert learned.gradients == [pytest.approx(row) for row in (wrong, right, wrong, right)]
    assert read_metrics(parts.store)[1]["accuracy/sampled"] == 0.5
