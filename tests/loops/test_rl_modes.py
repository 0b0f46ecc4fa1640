"""RL in two thinking modes, with played engines: ties are replaced mode by mode, resumed or not."""

from collections.abc import Callable, Sequence

import pytest
from played_engines import PlayedLearner, PlayedPool, played_parts, said

from assay_api import ResolvedStageJob
from assay_data.dataset.order import derived_seed
from assay_data.store import Store
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.metrics_log import read_metrics
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

RIGHT, WRONG = [5, 6], [9]
BOTH_MODES = {"steps": 3, "promptsPerStep": 4, "groupSize": 2, "modes": ["Think", "NoThink"]}


def mode_of(request: ClipRequest) -> str:
    return "NoThink" if "/no_think" in request.text else "Think"


def clip_number(request: ClipRequest) -> int:
    """Of rows as train-real3-0."""
    return int(request.row_id[-3])


def answers(request: ClipRequest, plan: SamplingPlan, *, tied: bool) -> Sequence[Sample]:
    """One right answer of two tokens and one wrong one of one token; tied: two right ones."""
    letters = "AB" if "real" in request.row_id else "BA"
    right, wrong = (f"<think>hm</think><answer>{letter}</answer>" for letter in letters)
    one = said(right, [-1.0, -1.0], token_ids=RIGHT)
    other = one if tied else said(wrong, [-1.0], token_ids=WRONG)
    return [one, other][: plan.num_samples]


def only_clips_of_even_number(request: ClipRequest, plan: SamplingPlan) -> Sequence[Sample]:
    """No-think prompts about odd clips are ties; all other groups have something to prefer."""
    odd = clip_number(request) % 2 == 1
    return answers(request, plan, tied=odd and mode_of(request) == "NoThink")


def run(job: ResolvedStageJob) -> tuple[PlayedPool, PlayedLearner, Store]:
    pool, learner = PlayedPool(only_clips_of_even_number), PlayedLearner()
    parts = played_parts(job, learner)
    rl_loop(parts, pool, {}).run()
    return pool, learner, parts.store


def rounds_of(pool: PlayedPool) -> list[list[ClipRequest]]:
    return [list(requests) for requests, plan in pool.asked if plan.temperature > 0]


def test_ties_of_a_mode_are_replaced_in_that_mode_and_the_stream_goes_on(
    played_orders: Callable[..., ResolvedStageJob],
) -> None:
    method = {**BOTH_MODES, "groupFilter": "Reward", "maxSamplingRounds": 4}
    pool, learner, store = run(played_orders(rl=method, rewards=[{"type": "Accuracy"}]))

    rounds = rounds_of(pool)
    asked = [request for one in rounds for request in one]
    assert all(len(one) <= 4 for one in rounds) and len(rounds) > 3
    for one in rounds:
        if len(one) == 4:
            assert list(map(mode_of, one)) == ["Think", "NoThink", "Think", "NoThink"]
        else:
            assert set(map(mode_of, one)) == {"NoThink"}
    seed = derived_seed(0, "sampling")
    assert [r.seed for r in asked] == [
        derived_seed(seed, "rollout", n) for n, _ in enumerate(asked)
    ]
    # Eight clips to train on: each time round asks about all of them.
    for start in range(0, len(asked) - 7, 8):
        assert len({request.row_id for request in asked[start : start + 8]}) == 8
    for step in (1, 2, 3):
        numbers = read_metrics(store)[step]
        assert numbers["sampling/learned_groups"] == 4
        assert numbers["sampling/learned_share_think"] == 0.5
        assert numbers["sampling/acceptance_think"] == 1
    assert [[len(batch.completions) for batch in update] for update in learner.updates] == [[8]] * 3


def test_a_stage_that_is_resumed_asks_what_an_undisturbed_one_does(
    played_orders: Callable[..., ResolvedStageJob],
) -> None:
    method = {**BOTH_MODES, "modes": ["Think", "NoThink", "NoThink"], "groupFilter": "Reward"}
    spec = {"rewards": [{"type": "Accuracy"}], "checkpoint": {"every": 1, "keep": 9}}
    job = played_orders(rl=method, **spec)
    whole, _, store = run(job)
    by_step = {n: numbers for n, numbers in read_metrics(store).items() if n}
    sizes = [int(by_step[n]["sampling/rounds"]) for n in sorted(by_step)]

    for step in (2, 3):
        store.delete(f"checkpoints/step-{step:06d}")
    again, _, _ = run(job)
    assert rounds_of(again) == rounds_of(whole)[sizes[0] :]


def test_without_dynamic_sampling_ties_are_not_computed_and_their_tokens_count(
    played_orders: Callable[..., ResolvedStageJob],
) -> None:
    method = {**BOTH_MODES, "steps": 1, "dynamicSampling": False}
    pool, learner, store = run(played_orders(rl=method, rewards=[{"type": "Accuracy"}]))

    (one_round,) = rounds_of(pool)
    odd = [clip_number(r) % 2 == 1 and mode_of(r) == "NoThink" for r in one_round]
    assert 0 < sum(odd) < 4
    ((batch,),) = learner.updates
    num_tokens = 4 * sum(odd) + 3 * (4 - sum(odd))
    share = 0.5 / 0.5**0.5 / num_tokens
    assert batch.completions == [RIGHT, WRONG] * (4 - sum(odd))
    for right, wrong in zip(batch.gradients[::2], batch.gradients[1::2], strict=True):
        assert (right, wrong) == ([pytest.approx(-share)] * 2, [pytest.approx(share)])
    numbers = read_metrics(store)[1]
    assert numbers["tokens/learned"] == 3 * (4 - sum(odd))
    assert numbers["entropy/mean_nats"] == 0.5
