"""Low-rank adapters: trained by DeepSpeed in this process, sampled by vLLM in a Ray actor."""

import pytest
import torch

from assay_api import ThinkingMode
from assay_api.stage import Lora
from assay_trainer.loops.prompts import prompt_item
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.rollout.sampler import SamplingPlan

TOLERANCE = 1e-4
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PLAN = SamplingPlan(num_samples=2, max_tokens=16, temperature=1.0)


@pytest.fixture(scope="module")
def pool(cluster, make_pool):
    pool = make_pool(lora=Lora(rank=4, alpha=8, targets=TARGETS))
    yield pool
    pool.close()


@pytest.fixture
def parts(make_parts, rl):
    optimizer = {"learningRate": 0.02}
    lora = {"rank": 4, "alpha": 8, "targets": list(TARGETS)}
    return make_parts(**rl(optimizer=optimizer, logprobTolerance=TOLERANCE), lora=lora)


def test_sampler_and_learner_agree_after_each_change_of_the_adapters(
    pool, parts, draw_completions, ask
) -> None:
    """A version may come twice: a step without a usable group changes nothing."""
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3, 7)))
    canary = prompt_item(parts.dataset.rows()[0], parts.stage.spec.prompt, ThinkingMode.THINK)
    sync = WeightSync(parts, pool, canary, parts.stage.spec.rl)
    requests = ask(parts.dataset)[:3]
    drawn, scores = [], []

    for version in (0, 1, 2, 2, 3):
        if version:
            parts.learner.update([(batch, lambda out: -out.logprobs.mean())])
        assert sync.push(version) < TOLERANCE
        drawn.append([s.rollout for samples in pool.sample(requests, PLAN) for s in samples])
        scores.append(parts.learner.score(batch).logprobs)

    assert [rollouts[0].policy_version for rollouts in drawn] == [0, 1, 2, 2, 3]
    assert len({rollouts[0].sampler_logprobs for rollouts in drawn}) == 5
    assert all((scores[0] - later).abs().max() > 1e-3 for later in scores[1:])


def test_only_the_adapters_travel(parts) -> None:
    weights = parts.policy.exported_weights()

    assert weights and all(".lora_" in name and name.endswith("weight") for name in weights)
    assert all("language_model" in name for name in weights)
    exported = sum(tensor.numel() for tensor in weights.values())
    whole = sum(parameter.numel() for parameter in parts.policy.base.parameters())
    assert exported < whole / 4
    assert all(tensor.dtype is torch.float32 for tensor in weights.values())
