"""Engines in Ray actors are killed as a machine would: by SIGKILL, at any time."""

import threading
from dataclasses import replace
from functools import partial

import psutil
import pytest
import ray
import torch
from ray_processes import ray_processes

from assay_api import EngineError, EngineLostError, StoreError
from assay_trainer.rollout import pool as rollout_pool
from assay_trainer.rollout.engine_owner import RemoteEngineOwner
from assay_trainer.rollout.pool import RolloutPool
from assay_trainer.rollout.sampler import SamplingPlan

PLAN = SamplingPlan(num_samples=4, max_tokens=48, temperature=1.0)
"""Long enough that an engine can be killed while it samples."""


@pytest.fixture(scope="module")
def pool(cluster, make_pool):
    pool = make_pool(num_engines=2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def weights(scratch_model):
    from assay_trainer.models.policy import load_policy

    policy = load_policy(scratch_model, precision="Float32", lora=None, freeze_vision_tower=True)
    changed = policy.exported_weights()
    torch.manual_seed(0)
    return {name: tensor + 0.02 * torch.randn(tensor.shape) for name, tensor in changed.items()}


@pytest.fixture(scope="module")
def requests(dataset, ask):
    from assay_data.dataset import ClipDataset
    from assay_data.store import open_store

    return ask(ClipDataset.open(open_store(str(dataset))))


@pytest.fixture(scope="module")
def undisturbed(pool, weights, requests):
    pool.load(weights, 5)
    return pool.sample(requests, PLAN)


def engines() -> list[psutil.Process]:
    """Return the processes that run rollout engines of any test of this process, oldest first."""
    return ray_processes(psutil.Process(), "ray::RolloutEngine")


def engine_of(pool: RolloutPool, place: int) -> psutil.Process:
    """Return the process of one engine of a pool; engines of closed pools may live on for a bit."""
    return psutil.Process(ray.get(pool._owner.engines()[place].ready.remote()))


def kill(engine: psutil.Process) -> None:
    engine.kill()
    engine.wait()


def sampled_again(pool, weights, requests):
    """Sample as the undisturbed pool did: right after the weights came."""
    pool.load(weights, 5)
    return pool.sample(requests, PLAN)


def test_an_engine_killed_between_calls_is_replaced_by_one_that_samples_the_same(
    pool, weights, requests, undisturbed
) -> None:
    """Bit for bit: tokens and log-probabilities of an engine that was started anew."""
    first, second = engine_of(pool, 0), engine_of(pool, 1)
    kill(first)

    assert pool.sample(requests, PLAN) == undisturbed

    assert engine_of(pool, 0) != first and engine_of(pool, 1) == second


def test_an_engine_killed_while_it_samples_is_replaced(
    pool, weights, requests, undisturbed
) -> None:
    pool.load(weights, 5)
    victim = engine_of(pool, 1)
    killer = threading.Timer(0.3, victim.kill)
    killer.start()

    answers = pool.sample(requests * 4, PLAN)

    killer.join()
    assert not victim.is_running()
    assert len(answers) == 4 * len(requests)
    texts = [[s.rollout.text for s in samples] for samples in undisturbed]
    for start in range(0, len(answers), len(requests)):
        again = answers[start : start + len(requests)]
        assert [[s.rollout.text for s in samples] for samples in again] == texts


def test_weights_reach_an_engine_that_was_just_killed(pool, weights, requests, undisturbed) -> None:
    kill(engine_of(pool, 1))

    assert sampled_again(pool, weights, requests) == undisturbed


def test_a_pool_of_one_samples_what_a_pool_of_two_does(
    pool, weights, requests, undisturbed, make_pool
) -> None:
    alone = make_pool()
    alone.load(weights, 5)

    for one, two in zip(alone.sample(requests, PLAN), undisturbed, strict=True):
        for left, right in zip(one, two, strict=True):
            assert left.rollout.token_ids == right.rollout.token_ids
            assert left.rollout.sampler_logprobs == pytest.approx(
                right.rollout.sampler_logprobs, abs=1e-4
            )
    alone.close()


def test_fewer_requests_than_engines_and_none_at_all(pool, requests, undisturbed) -> None:
    assert pool.sample([], PLAN) == []
    (samples,) = pool.sample([replace(requests[0], seed=99)], replace(PLAN, num_samples=1))
    assert len(samples) == 1


def test_every_engine_answers_the_canary_alike(pool, weights, requests, undisturbed) -> None:
    pool.load(weights, 5)

    one, two = pool.each(requests[0], replace(PLAN, num_samples=1))

    assert one == two


def test_a_learner_that_is_started_anew_finds_the_engine_that_lives_and_replaces_a_dead_one(
    make_pool, weights, requests, undisturbed
) -> None:
    """A learner replaces an engine and dies; the next one finds it; it dies before the third."""
    mine = make_pool(owner=RemoteEngineOwner)
    open_pool = partial(RolloutPool, mine._config, mine._owner)

    class Learner:
        def samples(self) -> list:
            pool = open_pool()
            pool.wait_ready()
            pool.load(weights, 5)
            return pool.sample(requests, PLAN)

    def samples_of_a_learner_that_dies() -> list:
        learner = ray.remote(num_cpus=1)(Learner).remote()
        samples = ray.get(learner.samples.remote())
        ray.kill(learner)
        return samples

    kill(engine_of(mine, 0))
    first = samples_of_a_learner_that_dies()
    replaced = engine_of(mine, 0)
    assert samples_of_a_learner_that_dies() == first
    assert engine_of(mine, 0) == replaced, "it lives on, and is not replaced once more"
    kill(replaced)
    assert samples_of_a_learner_that_dies() == first
    mine.close()


def test_an_engine_in_the_place_of_a_dead_one_that_loads_other_weights_samples_nothing(
    make_pool, weights, requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_pool()
    mine.load(weights, 5)
    stale = {name: tensor + 1e-3 for name, tensor in weights.items()}
    monkeypatch.setattr(mine, "_weights", (ray.put(stale), 5))
    kill(engine_of(mine, 0))

    with pytest.raises(
        EngineError, match=r"rollout engine 0 was replaced and does not run policy version 5: "
    ):
        mine.sample(requests, PLAN)

    mine.close()


@pytest.fixture
def impatient(pool, monkeypatch: pytest.MonkeyPatch) -> RolloutPool:
    """The pool with a deadline of seconds."""
    monkeypatch.setattr(pool, "_config", replace(pool._config, call_timeout_seconds=10.0))
    return pool


def test_an_engine_that_hangs_is_replaced(impatient, weights, requests, undisturbed) -> None:
    hangs = engine_of(impatient, 1)
    hangs.suspend()

    assert sampled_again(impatient, weights, requests) == undisturbed

    assert engine_of(impatient, 1) != hangs and hangs not in engines()


def test_an_engine_that_hangs_too_often_ends_the_stage_as_lost(
    impatient, weights, undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_pool, "ENGINE_REPLACEMENTS", 0)
    hangs = engine_of(impatient, 1)
    hangs.suspend()

    with pytest.raises(EngineLostError, match=r"rollout engine \d failed 1 times in one call"):
        impatient.load(weights, 5)

    hangs.resume()


def test_an_engine_without_its_dataset_says_what_is_missing_and_is_not_tried_again(
    make_pool, tmp_path
) -> None:
    started = len(engines())
    with pytest.raises(StoreError, match=str(tmp_path)):
        make_pool(dataset=str(tmp_path))
    assert len(engines()) <= started + 1
