"""What the sampler asks of vLLM and makes of its answers, with vLLM played."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from played_vllm import PlayedLlm, load_played_module

from assay_api.stage import Lora
from assay_trainer.records import Clip
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.sampler import SampleRequest, SamplingPlan

PLAN = SamplingPlan(num_samples=2, max_tokens=3, temperature=0.7)
FRAMES = np.zeros((4, 28, 28, 3), dtype=np.uint8)
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def vllm_engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_played_module(monkeypatch)


@pytest.fixture
def start(vllm_engine: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """Start a sampler on a played engine."""
    (tmp_path / "config.json").write_text(json.dumps(SIZES))

    def run(**changes: Any) -> Any:
        config = {"precision": "Float32", "max_model_length_tokens": 300} | changes
        return vllm_engine.VllmSampler(tmp_path, EngineConfig(**config))

    return run


def llm_of(sampler: Any) -> PlayedLlm:
    played: PlayedLlm = sampler._llm
    return played


def request(text: str = "asked", seed: int = 5) -> SampleRequest:
    return SampleRequest(text, Clip(FRAMES, fps=2.0), seed)


def load(sampler: Any, logprob: float, version: int) -> None:
    """Load weights with which every token has this log-probability."""
    sampler.load({"weight": logprob}, version)


def drawn(sampler: Any, text: str = "asked") -> set[float]:
    """Return the log-probabilities of a request's tokens."""
    (samples,) = sampler.sample([request(text)], PLAN)
    return {logprob for sample in samples for logprob in sample.rollout.sampler_logprobs}


def test_new_weights_are_used_for_prompts_that_were_seen_before(start: Callable[..., Any]) -> None:
    sampler = start()
    for version, logprob in enumerate((-0.5, -0.25)):
        load(sampler, logprob, version)
        assert drawn(sampler) == {logprob}
    assert llm_of(sampler).knows_new_media


def test_a_call_uses_nothing_that_another_one_has_left(start: Callable[..., Any]) -> None:
    sampler = start()
    load(sampler, -0.5, 0)
    drawn(sampler)
    llm_of(sampler).weights = -0.25

    assert drawn(sampler) == {-0.25}


def test_completions_bear_the_version_of_the_weights_that_were_loaded_last(
    start: Callable[..., Any],
) -> None:
    sampler = start()
    for version in (3, 7):
        load(sampler, -0.5, version)
        (samples,) = sampler.sample([request()], PLAN)
        assert [sample.rollout.policy_version for sample in samples] == [version] * 2


@pytest.mark.parametrize(
    ("ends_at", "truncated", "text"),
    [(None, True, "7 8 9"), (2, False, "7"), (3, False, "7 8")],
)
def test_a_completion_is_truncated_only_if_the_limit_ended_it(
    start: Callable[..., Any], ends_at: int | None, truncated: bool, text: str
) -> None:
    """What ended it by itself is a token that is no text."""
    sampler = start()
    load(sampler, -0.5, 0)
    llm_of(sampler).ends_at = ends_at

    ((sample,),) = sampler.sample([request()], SamplingPlan(1, 3, 0.7))

    assert sample.rollout.truncated is truncated
    assert sample.rollout.token_ids == tuple(range(7, 7 + (ends_at or 3)))
    assert sample.rollout.text == text


def test_each_request_has_its_prompt_clip_and_seed_and_its_samples_in_order(
    start: Callable[..., Any],
) -> None:
    sampler = start()
    load(sampler, -0.5, 0)

    answers = sampler.sample([request("one", 5), request("two", 6)], PLAN)

    assert [[s.rollout.token_ids for s in samples] for samples in answers] == [
        [(7, 8, 9), (17, 18, 19)]
    ] * 2
    assert llm_of(sampler).batches == [2], "side by side"
    for (prompt, parameters, adapter), text, seed in zip(
        llm_of(sampler).asked, ("one", "two"), (5, 6), strict=True
    ):
        frames, metadata = prompt["multi_modal_data"]["video"]
        assert prompt["prompt"] == text and np.array_equal(frames, FRAMES)
        assert metadata == {
            "fps": 2.0,
            "duration": 2.0,
            "total_num_frames": 4,
            "frames_indices": [0, 1, 2, 3],
            "video_backend": "assay",
            "do_sample_frames": False,
        }
        assert (parameters.n, parameters.max_tokens, parameters.temperature) == (2, 3, 0.7)
        assert (parameters.seed, parameters.logprobs, adapter) == (seed, 0, None)
        # The marks of media, each 100 nats less likely than the model says, as the learner has it.
        assert parameters.logit_bias == dict.fromkeys(range(5), -100.0)
        neutral = (parameters.top_p, parameters.top_k, parameters.repetition_penalty)
        assert neutral == (1.0, 0, 1.0)
        assert (parameters.presence_penalty, parameters.frequency_penalty) == (0.0, 0.0)


def test_greedy_answers_have_no_seed_and_alternatives_only_where_they_are_asked_for(
    start: Callable[..., Any],
) -> None:
    sampler = start()
    load(sampler, -0.5, 0)

    ((one,),) = sampler.sample([request()], SamplingPlan(1, 2, 0.0, num_alternatives=20))
    ((plain,),) = sampler.sample([request()], SamplingPlan(1, 2, 0.0))

    (_, parameters, _), _ = llm_of(sampler).asked
    assert (parameters.seed, parameters.temperature, parameters.logprobs) == (None, 0.0, 20)
    assert one.alternatives == ({7: -0.5, 99: -9.0}, {8: -0.5, 99: -9.0})
    assert one.rollout.sampler_logprobs == (-0.5, -0.5)
    assert plain.alternatives == ()


def test_adapters_have_a_name_of_their_own_at_each_load_and_the_old_ones_go(
    start: Callable[..., Any],
) -> None:
    sampler = start(lora=Lora(rank=8, alpha=8, targets=("q_proj",)))
    llm = llm_of(sampler)
    assert (llm.arguments["enable_lora"], llm.arguments["max_lora_rank"]) == (True, 8)
    for number, version in ((1, 0), (2, 6), (3, 6)):
        sampler.load({"layer.lora_A.weight": torch.ones(8, 8)}, version)
        sampler.sample([request()], PLAN)
        name = f"policy-{version}-{number}"
        assert llm.adapters == {number: name}
        (_, _, adapter) = llm.asked[-1]
        assert adapter.name == name
        assert adapter.files == ["adapter_config.json", "adapter_model.safetensors"]
        read = sampler.loaded()
        assert read.keywords == {"dtype": torch.float32, "adapter_id": number}


def test_the_engine_computes_log_probabilities_as_the_learner_does(
    start: Callable[..., Any],
) -> None:
    found = llm_of(start(precision="BFloat16", max_sequences=6, memory_fraction=0.4)).arguments

    assert found["logprobs_mode"] == "processed_logprobs"
    assert (found["dtype"], found["hf_overrides"]) == ("bfloat16", {"head_dtype": "float32"})
    assert (found["max_model_len"], found["max_num_seqs"]) == (300, 6)
    assert found["generation_config"] == "vllm", "of the model's own only what ends an answer"
    assert found["limit_mm_per_prompt"] == {"image": 0, "video": 1}
    assert found["gpu_memory_utilization"] == 0.4
    assert "enable_lora" not in found


def test_a_closed_sampler_has_ended_its_engine(start: Callable[..., Any]) -> None:
    with start() as sampler:
        llm = llm_of(sampler)
        assert not llm.was_shut_down
    assert llm.was_shut_down and llm_of(sampler) is None
    sampler.close()
