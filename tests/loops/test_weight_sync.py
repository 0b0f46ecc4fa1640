"""Weights that samplers get, proven before use: digests of each engine, and the worst canary."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_prompts import asked
from played_engines import PlayedLearner, PlayedPool, played_parts, said

from assay_api import EngineError, ResolvedStageJob
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

Orders = Callable[..., ResolvedStageJob]
NAN = math.nan


def answer(*off_nats: float) -> Sample:
    """A canary whose tokens are off the learner's log-probabilities, of -1 nat, by so much."""
    return said("", [-1 + off for off in off_nats], token_ids=range(2, 2 + len(off_nats)))


def synced(
    played_orders: Orders, pool: PlayedPool, precision: str = "Float32", **method: Any
) -> tuple[WeightSync, StageParts, PlayedLearner]:
    job = played_orders(
        rl={"steps": 1, "temperature": 0.6} | method,
        rewards=[{"type": "Accuracy"}],
        placement={"precision": precision},
    )
    learner = PlayedLearner()
    parts = played_parts(job, learner)
    rl = job.stage.spec.rl
    assert rl is not None
    row = parts.dataset.rows()[0]
    canary = asked(row.row_id, row.label, rl.modes[0], "the canary's prompt", "Real?")
    return WeightSync(parts, pool, canary, rl), parts, learner


def pool_of(*canaries: Sample, **changes: Any) -> PlayedPool:
    return PlayedPool(
        lambda request, plan: pytest.fail("only canaries are asked for"),
        num_engines=len(canaries),
        canaries=canaries,
        **changes,
    )


def test_every_engine_gets_the_weights_of_now_under_their_version(played_orders: Orders) -> None:
    pool = pool_of(answer(0.0), answer(0.0))
    sync, _, learner = synced(played_orders, pool)
    for version in (0, 5):
        learner.num_updates = version
        assert sync.push(version) == 0
    loads = [(weights["layers.0.weight"].item(), version) for weights, version in pool.loaded]
    assert loads == [(0.0, 0), (5.0, 5)]


def test_the_canary_is_eight_tokens_at_the_temperature_of_sampling(played_orders: Orders) -> None:
    pool = pool_of(answer(0.0, 0.0, 0.0))
    sync, parts, learner = synced(played_orders, pool)
    sync.push(0)
    row = parts.dataset.rows()[0]
    request = ClipRequest("the canary's prompt", row.row_id, seed=0)
    assert pool.compared == [(request, SamplingPlan(1, max_tokens=8, temperature=0.6))]
    (scored,) = learner.scored
    assert scored.completion_ids.tolist() == [[2, 3, 4]]
    assert scored.input_ids[0, -3:].tolist() == [2, 3, 4]
    frames = torch.from_numpy(parts.dataset.frames(row.row_id).astype("float32"))
    assert torch.equal(scored.visuals[0].pixel_values.flatten(), frames.flatten())


@pytest.mark.parametrize(
    "canaries",
    [
        [answer(0.0, 0.25), answer(0.0, 0.0), answer(0.125, 0.0)],
        [answer(0.0, 0.0), answer(-0.25, 0.125), answer(0.0, 0.0)],
        [answer(0.0, 0.125), answer(0.125, 0.0), answer(0.0, -0.25)],
    ],
    ids=["the first", "one in between, too unlikely", "the last"],
)
def test_the_worst_token_of_the_worst_engine_counts(
    played_orders: Orders, canaries: list[Sample]
) -> None:
    pool = pool_of(*canaries)
    sync, _, _ = synced(played_orders, pool, logprobTolerance=0.25)
    assert sync.push(0) == 0.25
    strict, _, _ = synced(played_orders, pool, logprobTolerance=0.249)
    with pytest.raises(EngineError, match=r"differ by 2\.50e-01 nats .* \(spec\.rl\.logprobTol"):
        strict.push(0)


@pytest.mark.parametrize(
    "canaries",
    [[answer(NAN), answer(0.0)], [answer(0.0), answer(NAN)], [answer(0.0, NAN), answer(0.0, 0.0)]],
)
def test_a_difference_that_is_no_number_is_within_no_tolerance(
    played_orders: Orders, canaries: list[Sample]
) -> None:
    sync, _, _ = synced(played_orders, pool_of(*canaries), logprobTolerance=1000)
    with pytest.raises(EngineError, match="differ by nan nats"):
        sync.push(0)


@pytest.mark.parametrize(("precision", "limit"), [("Float32", 0.001), ("BFloat16", 1.0)])
def test_without_a_tolerance_the_number_format_says_how_much_is_rounding(
    played_orders: Orders, precision: str, limit: float
) -> None:
    dtype = {"Float32": torch.float32, "BFloat16": torch.bfloat16}[precision]
    within = synced(played_orders, pool_of(answer(0.9 * limit), dtype=dtype), precision)[0]
    assert within.push(0) == pytest.approx(0.9 * limit, rel=1e-3)
    beyond = synced(played_orders, pool_of(answer(1.1 * limit), dtype=dtype), precision)[0]
    with pytest.raises(EngineError, match=f"logprobTolerance: {limit:g}"):
        beyond.push(0)


@pytest.mark.parametrize("engine", [0, 1, 2])
def test_an_engine_that_keeps_its_old_weights_is_named(played_orders: Orders, engine: int) -> None:
    pool = pool_of(*[answer(0.0)] * 3, keeps_old_weights=[engine])
    sync, _, learner = synced(played_orders, pool)
    sync.push(0)
    learner.num_updates = 1
    with pytest.raises(
        EngineError,
        match=f"rollout engine {engine} did not load policy version 1: 1 of 1 tensors differ",
    ):
        sync.push(1)
    assert len(pool.compared) == 1, "nothing is sampled with them"


def test_weights_in_another_number_format_are_other_weights(played_orders: Orders) -> None:
    sync, _, _ = synced(played_orders, pool_of(answer(0.0)), "BFloat16")
    with pytest.raises(EngineError, match="did not load policy version 0"):
        sync.push(0)
