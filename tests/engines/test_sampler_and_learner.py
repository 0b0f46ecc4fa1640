"""The samplers are real vLLM engines in Ray actors; the learner is DeepSpeed's in this process."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from assay_api import EngineError, ThinkingMode
from assay_api.prompt import Prompt
from assay_trainer.answers.letter import parse_answer
from assay_trainer.chat import detection_prompt
from assay_trainer.families.batch import Completion, collate
from assay_trainer.families.qwen2_5_vl import Qwen25VlEncoder
from assay_trainer.loops.agreement import LIMITS
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.prompts.row_media import row_media
from assay_trainer.records import Shown
from assay_trainer.rollout.pool import RolloutPool
from assay_trainer.rollout.sampler import ClipRequest, SamplingPlan

TOLERANCE = 1e-4
"""Largest difference in nats, in fp32, between sampler and learner on the same tokens."""
QUESTION = "Real or fake? A) real B) fake"
PLAN = SamplingPlan(num_samples=4, max_tokens=16, temperature=1.0)


@pytest.fixture(scope="module")
def pool(cluster, make_pool):
    pool = make_pool()
    yield pool
    pool.close()


@pytest.fixture
def parts(make_parts):
    return make_parts()


@pytest.fixture
def requests(parts, ask) -> list[ClipRequest]:
    return ask(parts.dataset)


def one_per_duration(requests: list[ClipRequest], parts) -> dict[float, ClipRequest]:
    """Return one request for each rate of frames."""
    return {round(16 / parts.dataset.row(r.row_id).sampled_fps): r for r in requests}


def train(parts, draw_completions, num_steps: int = 3) -> None:
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3, 7)))
    for _ in range(num_steps):
        parts.learner.update([(batch, lambda out: -out.logprobs.mean())])


def difference(parts, request: ClipRequest, samples, *, speed: float | None = None) -> float:
    """Return the largest difference between sampler and learner over a request's samples."""
    prompt = parts.encode(request.text, request.row_id)
    if speed is not None:
        clip = row_media(parts.dataset, request.row_id, Shown.VIDEO)
        prompt = Qwen25VlEncoder(parts.policy.processor, speed).encode(request.text, clip)
    rows = [Completion(prompt, sample.rollout.token_ids) for sample in samples]
    batch = collate(rows, pad_id=0)
    learner = parts.learner.score(batch).logprobs
    sampled = [torch.tensor(sample.rollout.sampler_logprobs) for sample in samples]
    return max(
        float((row[: len(own)] - own).abs().max())
        for row, own in zip(learner, sampled, strict=True)
    )


def test_both_agree_on_clips_over_5_20_and_60_seconds(pool, parts, requests) -> None:
    pool.load(parts.policy.exported_weights(), 0)
    by_seconds = one_per_duration(requests, parts)
    assert sorted(by_seconds) == [5, 20, 60]

    for request in by_seconds.values():
        (samples,) = pool.sample([request], PLAN)

        assert len({sample.rollout.token_ids for sample in samples}) == 4
        assert difference(parts, request, samples) < TOLERANCE
        wrong_positions = difference(parts, request, samples, speed=1.0)
        assert wrong_positions > 3 * TOLERANCE, "positions that are off must show"


def test_both_agree_at_another_temperature(pool, make_parts, rl, ask) -> None:
    parts = make_parts(**rl(temperature=0.6))
    request = ask(parts.dataset)[0]

    pool.load(parts.policy.exported_weights(), 0)
    (samples,) = pool.sample([request], replace(PLAN, temperature=0.6))

    assert difference(parts, request, samples) < TOLERANCE


def test_visual_tokens_are_never_sampled(pool, parts, requests) -> None:
    pool.load(parts.policy.exported_weights(), 0)

    answers = pool.sample(requests, SamplingPlan(num_samples=16, max_tokens=24, temperature=2.0))

    drawn = {t for samples in answers for s in samples for t in s.rollout.token_ids}
    banned = set(parts.policy.banned_ids())
    assert len(drawn) > 250, "of 328 tokens nearly all come up"
    assert not drawn & banned


def test_all_that_was_drawn_is_in_the_text_but_for_the_token_that_ended_it(
    pool, parts, requests
) -> None:
    pool.load(parts.policy.exported_weights(), 0)

    answers = pool.sample(requests, SamplingPlan(num_samples=16, max_tokens=24, temperature=2.0))

    tokenizer = parts.policy.tokenizer
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    rollouts = [sample.rollout for samples in answers for sample in samples]
    for rollout in rollouts:
        ids = rollout.token_ids
        assert rollout.truncated == (ids[-1] != end)
        assert rollout.text == tokenizer.decode(ids if rollout.truncated else ids[:-1])
        assert rollout.text.count("<|im_start|>") == ids.count(start)
        assert "<|im_end|>" not in rollout.text
    assert {rollout.truncated for rollout in rollouts} == {True, False}
    controlled = [rollout for rollout in rollouts if start in rollout.token_ids]
    assert controlled, "of 328 tokens nearly all come up"
    format_around = "<think>{}</think><answer>A</answer>"
    assert not any(parse_answer(format_around.format(r.text)).well_formed for r in controlled)


def test_after_a_sync_both_run_the_changed_weights(pool, parts, requests, draw_completions) -> None:
    pool.load(parts.policy.exported_weights(), 0)
    before = pool.sample(requests[:3], PLAN)
    train(parts, draw_completions)
    assert difference(parts, requests[0], before[0]) > 100 * TOLERANCE

    pool.load(parts.policy.exported_weights(), 3)
    after = pool.sample(requests[:3], PLAN)

    for request, samples in zip(requests[:3], after, strict=True):
        assert difference(parts, request, samples) < TOLERANCE
        assert {sample.rollout.policy_version for sample in samples} == {3}


def test_a_prompt_that_the_engine_has_kept_is_computed_anew_after_a_sync(
    pool, parts, requests, draw_completions
) -> None:
    """vLLM on a CPU keeps prompts in blocks of 128 tokens, and a shorter one not at all."""
    asked = Prompt(question=" ".join([QUESTION] * 20))
    request = replace(requests[0], text=detection_prompt(asked, ThinkingMode.THINK)[0])
    assert len(parts.encode(request.text, request.row_id).token_ids) > 2 * 128
    pool.load(parts.policy.exported_weights(), 0)
    pool.sample([request], PLAN)
    train(parts, draw_completions)

    pool.load(parts.policy.exported_weights(), 3)
    (samples,) = pool.sample([request], PLAN)

    assert difference(parts, request, samples) < TOLERANCE


class Deaf:
    """A pool that is given weights and goes on with the ones it has."""

    def __init__(self, pool, weights) -> None:
        self.each = pool.each
        self._pool, self._weights = pool, weights

    def load(self, weights, policy_version: int):
        return self._pool.load(self._weights, policy_version)


def weight_sync(parts, pool, method=None) -> WeightSync:
    row = parts.dataset.rows()[0]
    canary = parts.prompts.item(row, ThinkingMode.THINK)
    return WeightSync(parts, pool, canary, method or parts.stage.spec.rl)


@pytest.fixture(scope="module")
def bfloat16_pool(cluster, make_pool) -> Iterator[RolloutPool]:
    pool = make_pool(precision="BFloat16")
    yield pool
    pool.close()


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_weights_that_did_not_arrive_stop_the_stage(
    request, make_parts, rl, draw_completions, precision: str
) -> None:
    """By default the canary alone would let all of this pass in BFloat16."""
    pool = request.getfixturevalue("pool" if precision == "Float32" else "bfloat16_pool")
    optimizer = {"learningRate": 1e-4}
    parts = make_parts(
        **rl(optimizer=optimizer, logprobTolerance=None), placement={"precision": precision}
    )
    limit = LIMITS[precision].canary_nats
    before = parts.policy.exported_weights()
    assert weight_sync(parts, pool).push(0) < limit
    train(parts, draw_completions)

    with pytest.raises(EngineError, match=r"engine 0 did not load policy version 3: \d+ of 57 "):
        weight_sync(parts, Deaf(pool, before)).push(3)
    half = {n: t for n, t in parts.policy.exported_weights().items() if ".layers.1." not in n}
    with pytest.raises(EngineError, match=r"\d+ of 57 tensors differ .* as layers\.1\.self_attn"):
        weight_sync(parts, Deaf(pool, half)).push(3)
    assert weight_sync(parts, pool).push(3) < limit


def test_the_canary_stops_a_sampler_that_computes_something_else(pool, make_parts, rl) -> None:
    """It has the learner's weights, and divides the logits by another temperature."""
    parts = make_parts(**rl())
    cooler = rl(temperature=0.7, logprobTolerance=TOLERANCE)
    method = parts.stage.spec.rl.model_validate(cooler["rl"])

    with pytest.raises(EngineError, match=re.escape("(spec.rl.logprobTolerance: 0.0001)")):
        weight_sync(parts, pool, method).push(0)
    assert weight_sync(parts, pool).push(0) < TOLERANCE


def test_a_request_has_the_same_samples_in_any_batch(pool, parts, requests) -> None:
    pool.load(parts.policy.exported_weights(), 0)

    in_order = pool.sample(requests, PLAN)
    pool.load(parts.policy.exported_weights(), 0)
    reverse = pool.sample(requests[::-1], PLAN)[::-1]
    alone = pool.sample(requests[2:3], PLAN)

    for one, other in zip([*in_order, in_order[2]], [*reverse, *alone], strict=True):
        for left, right in zip(one, other, strict=True):
            assert left.rollout.token_ids == right.rollout.token_ids
            assert left.rollout.sampler_logprobs == pytest.approx(
                right.rollout.sampler_logprobs, abs=TOLERANCE
            )


def test_another_seed_gives_other_samples(pool, requests) -> None:
    """Far apart: the samples of one request have the seeds after its own."""
    request = requests[0]

    one, two = pool.sample([request, replace(request, seed=request.seed + 1000)], PLAN)

    assert {s.rollout.token_ids for s in one}.isdisjoint(s.rollout.token_ids for s in two)
