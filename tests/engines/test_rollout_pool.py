"""Engines in Ray actors are killed as a machine would: by SIGKILL, at any time."""

import threading
from dataclasses import replace
from functools import partial

import psutil
import pytest
import ray
import torch

from assay_api import EngineLostError, StoreError
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
    """Return the processes that run this test's rollout engines, oldest first."""
    found = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RolloutEngine")
    ]
    return sorted(found, key=psutil.Process.create_time)


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
    first, second = engines()[-2:]
    kill(first)

    assert pool.sample(requests, PLAN) == undisturbed

    assert second in engines() and first not in engines()


def test_an_engine_killed_while_it_samples_is_replaced(
    pool, weights, requests, undisturbed
) -> None:
    pool.load(weights, 5)
    victim = engines()[-1]
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
    kill(engines()[-1])

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


def test_a_learner_that_is_started_anew_finds_the_engines_that_live_and_replaces_the_dead(
    cluster, make_pool, weights, requests, undisturbed
) -> None:
    """A learner replaces an engine and dies; so do, one after the other, the next one and it."""
    mine = make_pool(num_engines=2, owner=RemoteEngineOwner)
    open_pool = partial(RolloutPool, mine._config, mine._owner)

    class Learner:
        def samples(self, restarted: bool) -> list:
            pool = open_pool()
            pool.wait_ready()
            pool.load(weights, 5)
            return pool.sample(requests, PLAN)

    kill(engines()[-1])
    first = ray.remote(num_cpus=1)(Learner).remote()
    assert ray.get(first.samples.remote(False)) == undisturbed
    replaced = engines()[-1]
    ray.kill(first)

    second = ray.remote(num_cpus=1)(Learner).remote()
    assert ray.get(second.samples.remote(True)) == undisturbed
    assert engines()[-1] == replaced, "it is found, and not replaced once more"
    ray.kill(second)

    kill(replaced)
    third = ray.remote(num_cpus=1)(Learner).remote()
    assert ray.get(third.samples.remote(True)) == undisturbed
    ray.kill(third)
    mine.close()


def test_an_engine_that_hangs_is_replaced(make_pool, weights, requests, undisturbed) -> None:
    mine = make_pool(call_timeout_seconds=20.0)
    mine.load(weights, 5)
    before = mine.sample(requests, PLAN)
    hangs = engines()[-1]
    hangs.suspend()

    mine.load(weights, 5)

    assert mine.sample(requests, PLAN) == before
    assert hangs not in engines()
    mine.close()


def test_an_engine_that_hangs_too_often_ends_the_stage_as_lost(
    make_pool, requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_pool, "ENGINE_REPLACEMENTS", 0)
    mine = make_pool(call_timeout_seconds=3.0)
    engines()[-1].suspend()

    with pytest.raises(EngineLostError, match="rollout engine 0 failed 1 times in one call"):
        mine.sample(requests, PLAN)
    mine.close()


def test_an_engine_without_its_dataset_says_what_is_missing_and_is_not_tried_again(
    make_pool, tmp_path
) -> None:
    started = len(engines())
    with pytest.raises(StoreError, match=str(tmp_path)):
        make_pool(dataset=str(tmp_path))
    assert len(engines()) <= started + 1
