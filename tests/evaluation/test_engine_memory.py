"""What an engine needs of a GPU, against the plan's numbers, and what is refused with them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from assay_api import EngineError, InvalidInput
from assay_api.gpu_memory import CUDA_BYTES, ENGINE_SHARE, GIB
from assay_api.stage import Lora
from assay_operator.sizing.rollout import EngineJob, plan_engine
from assay_operator.sizing.shape import KNOWN, TEXT_LINEARS
from assay_trainer.rollout import engine_memory
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.engine_memory import check_engine_memory, cpu_cache, engine_need

SEVEN = KNOWN["Qwen2.5-VL-7B"]
TEXT = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
CONFIG = EngineConfig("BFloat16", 2400)
FORTY = int(39.39 * GIB)
"""What CUDA says of an A100 of 40 GB."""


@pytest.fixture(params=["published", "nested"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model's folder with the 7B model's configuration, in either layout, and small weights."""
    config = TEXT if request.param == "published" else {"text_config": TEXT}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "model-2.safetensors")
    return tmp_path


@pytest.fixture
def seven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with as many weights as the 7B model has."""
    monkeypatch.setattr(engine_memory, "num_weights", lambda model: SEVEN.parameters)
    return folder


def test_the_need_is_computed_from_headers_and_configuration(folder: Path) -> None:
    need = engine_need(folder, CONFIG)
    # 15 + 7 + 2 numbers, whatever their format in the files.
    assert need.weights == 24 * 2
    assert need.sequence == 2400 * SEVEN.kv_bytes_per_token(2)
    assert need.adapters == 0
    wide = engine_need(folder, EngineConfig("Float32", 2400))
    assert (wide.weights, wide.sequence) == (24 * 4, 2 * need.sequence)


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_room_for_adapters_is_that_of_the_plan(folder: Path, rank: int) -> None:
    need = engine_need(folder, EngineConfig("BFloat16", 2400, lora=Lora(rank=rank)))
    assert need.adapters == 2 * SEVEN.lora_parameters(rank, TEXT_LINEARS)


def test_it_is_never_more_than_the_plan_counts(seven: Path) -> None:
    need = engine_need(seven, CONFIG)
    job = EngineJob(SEVEN, 2, 1, prompt_tokens=1600, completion_tokens=800, group_size=8)
    plan = plan_engine(job, FORTY)
    terms = sum(term.num_bytes for term in plan.terms)
    assert need.total - need.sequence <= terms
    assert need.weights + CUDA_BYTES <= terms


def test_the_7b_model_fits_into_a_gpu_of_its_own_of_40_gb(seven: Path) -> None:
    check_engine_memory(seven, CONFIG, total_bytes=FORTY, free_bytes=FORTY - GIB)


def test_a_share_smaller_than_the_weights_is_refused_with_the_numbers(seven: Path) -> None:
    small = EngineConfig("BFloat16", 2400, memory_fraction=0.3)
    with pytest.raises(InvalidInput) as refused:
        check_engine_memory(seven, small, total_bytes=FORTY, free_bytes=FORTY)
    told = str(refused.value)
    # 2 x 8,292,166,656 bytes; 0.3 x 39.39 GiB.
    assert "weights 15.45 + forward pass 1.38 + KV cache of one sequence 0.13 + CUDA 1.50" in told
    assert "its share of the GPU is 0.3 x 39.39 = 11.82 GiB" in told


def test_float32_does_not_fit_where_bfloat16_does(seven: Path) -> None:
    memory = {"total_bytes": 24 * GIB, "free_bytes": 24 * GIB}
    check_engine_memory(seven, CONFIG, **memory)
    with pytest.raises(InvalidInput, match="precision BFloat16"):
        check_engine_memory(seven, EngineConfig("Float32", 2400), **memory)


def test_a_gpu_that_another_process_uses_is_the_worlds_fault(seven: Path) -> None:
    with pytest.raises(EngineError, match=r"30\.00 GiB are free: another process uses this GPU"):
        check_engine_memory(seven, CONFIG, total_bytes=FORTY, free_bytes=30 * GIB)
    least = int(ENGINE_SHARE * FORTY)
    check_engine_memory(seven, CONFIG, total_bytes=FORTY, free_bytes=least)


def test_the_cache_on_a_cpu_holds_eight_longest_sequences(folder: Path) -> None:
    assert cpu_cache(folder, CONFIG) == 8 * 2400 * 57_344
    assert cpu_cache(folder, EngineConfig("BFloat16", 100)) == 2**29
