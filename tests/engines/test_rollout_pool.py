"""Engines in Ray actors are killed as a machine would: by SIGKILL, at any time."""

import threading
from dataclasses import replace

import psutil
import pytest
import torch

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
        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Engine")
    ]
    return sorted(found, key=psutil.Process.create_time)


def sampled_again(pool, weights, requests):
    """Sample as the undisturbed pool did: right after the weights came."""
    pool.load(weights, 5)
    return pool.sample(requests, PLAN)


def test_an_engine_killed_between_calls_is_replaced_by_one_that_samples_the_same(
    pool, weights, requests, undisturbed
) -> None:
    """Bit for bit: tokens and log-probabilities of an engine that was started anew."""
    first, second = engines()[-2:]
    first.kill()
    first.wait()

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
    victim = engines()[-1]
    victim.kill()
    victim.wait()

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
