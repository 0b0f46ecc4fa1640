"""Low-rank adapters: trained by DeepSpeed in this process, sampled by vLLM in a Ray actor."""

import pytest
import torch

from assay_api import EngineError, ThinkingMode
from assay_api.stage import Lora
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rollout.sampler import SamplingPlan

TOLERANCES = {"Float32": 1e-4, "BFloat16": 0.1}
"""Nats; a BFloat16 model that is not trained rounds much."""
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NUM_MODULES = 2 * len(TARGETS)
PLAN = SamplingPlan(num_samples=2, max_tokens=16, temperature=1.0)
# A scaling that rounds, in either format.
LORA = Lora(rank=8, alpha=12, targets=TARGETS)


@pytest.fixture(scope="module", params=["Float32", "BFloat16"])
def precision(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def pool(cluster, make_pool, precision):
    pool = make_pool(lora=LORA, precision=precision)
    yield pool
    pool.close()


@pytest.fixture
def build(make_parts, rl):
    """Build the parts of a stage with adapters, that learns this fast."""

    def parts(precision: str, learning_rate: float):
        return make_parts(
            **rl(optimizer={"learningRate": learning_rate}, logprobTolerance=TOLERANCES[precision]),
            lora={"rank": LORA.rank, "alpha": LORA.alpha, "targets": list(TARGETS)},
            placement={"precision": precision, "microBatch": 4},
        )

    return parts


def weight_sync(parts, pool) -> WeightSync:
    canary = parts.prompts.item(parts.dataset.rows()[0], ThinkingMode.THINK)
    return WeightSync(parts, pool, canary, parts.stage.spec.rl)


def test_sampler_and_learner_agree_after_each_change_of_the_adapters(
    pool, build, precision, draw_completions, ask
) -> None:
    """A version may come twice: a step without a usable group changes nothing."""
    parts = build(precision, 0.02)
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3, 7)))
    sync = weight_sync(parts, pool)
    requests = ask(parts.dataset)[:3]
    drawn, scores = [], []

    for version in (0, 1, 2, 2, 3):
        if version:
            parts.learner.update([(batch, lambda out: -out.logprobs.mean())])
        assert sync.push(version) < TOLERANCES[precision]
        drawn.append([s.rollout for samples in pool.sample(requests, PLAN) for s in samples])
        scores.append(parts.learner.score(batch).logprobs)

    assert [rollouts[0].policy_version for rollouts in drawn] == [0, 1, 2, 2, 3]
    assert len({rollouts[0].sampler_logprobs for rollouts in drawn}) == 5
    assert all((scores[0] - later).abs().max() > 1e-3 for later in scores[1:])


class Faulty:
    """A pool whose engine is real, and into which adapters are brought in a wrong way."""

    def __init__(self, pool, deliver) -> None:
        self._pool, self._deliver, self._earlier = pool, deliver, None
        self.each = pool.each

    def load(self, weights, policy_version: int):
        earlier, self._earlier = self._earlier, weights
        if earlier is None:
            return self._pool.load(weights, policy_version)
        return self._deliver(self._pool, earlier, weights)


def into_nowhere(pool, earlier, weights):
    """Under names that no layer has: vLLM loads them, applies none, and samples from the base."""
    return pool.load({n.replace("language_model", "text"): t for n, t in weights.items()}, 2)


def once_only(pool, earlier, weights):
    return pool.load(earlier, 2)


def to_one_engine_of_two(pool, earlier, weights):
    return pool.load(weights, 2) + pool.load(earlier, 2)


def by_half(pool, earlier, weights):
    return pool.load({n: t for n, t in weights.items() if "self_attn" not in n}, 2)


@pytest.mark.parametrize(
    ("deliver", "message"),
    [
        (into_nowhere, "engine 0 .*: 28 of 28 tensors differ.*; 0 modules are adapted, of 14"),
        (once_only, r"engine 0 .*: \d+ of 28 tensors differ.*; 14 modules are adapted, of 14"),
        (to_one_engine_of_two, r"engine 1 .*: \d+ of 28 tensors differ"),
        (by_half, "engine 0 .*: 16 of 28 tensors differ.*; 6 modules are adapted, of 14"),
    ],
)
def test_adapters_that_did_not_arrive_stop_the_stage_however_little_they_changed(
    pool, build, precision, draw_completions, deliver, message
) -> None:
    """One step of Adam at 1e-5 moves log-probabilities by less than any tolerance."""
    parts = build(precision, 1e-5)
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3, 7)))
    sync = weight_sync(parts, Faulty(pool, deliver))
    parts.learner.update([(batch, lambda out: -out.logprobs.mean())])
    sync.push(1)
    before = parts.learner.score(batch).logprobs

    parts.learner.update([(batch, lambda out: -out.logprobs.mean())])

    assert (parts.learner.score(batch).logprobs - before).abs().max() < 0.02
    with pytest.raises(EngineError, match=f"rollout {message}") as raised:
        sync.push(2)
    assert "policy version 2" in str(raised.value)
    assert weight_sync(parts, pool).push(2) < TOLERANCES[precision]


def test_only_the_adapters_travel(build) -> None:
    parts = build("Float32", 0.02)
    weights = parts.policy.exported_weights()

    assert len(weights) == 2 * NUM_MODULES
    assert all(".lora_" in name and name.endswith("weight") for name in weights)
    assert all("language_model" in name for name in weights)
    exported = sum(tensor.numel() for tensor in weights.values())
    whole = sum(parameter.numel() for parameter in parts.policy.base.parameters())
    assert exported < whole / 2
    assert all(tensor.dtype is torch.float32 for tensor in weights.values())
