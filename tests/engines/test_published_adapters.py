"""Adapters beside the merged model, as peft and others read them."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import Qwen2_5_VLForConditionalGeneration

from assay_data.store import open_store
from assay_trainer.loops.publish_model import publish_model
from assay_trainer.models.published import files_digest

LORA = {"rank": 8, "alpha": 12, "targets": ["q_proj", "v_proj", "down_proj"]}


@pytest.fixture
def published(make_parts, rl, draw_completions):
    """Train adapters and publish them."""
    parts = make_parts(**rl(optimizer={"learningRate": 0.02}), lora=LORA)
    (batch,) = parts.micro_batches(draw_completions(parts, (5, 9, 3)))
    for _ in range(2):
        parts.learner.update([(batch, lambda out: -out.logprobs.mean())])
    publish_model(parts)
    return parts


def load(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()


def test_peft_makes_the_merged_model_of_base_and_adapters(published, scratch_model: Path) -> None:
    result = Path(published.job.output, "model")
    ids = torch.arange(1, 60)[None]
    with torch.no_grad():
        base = load(scratch_model)(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(load(scratch_model), result / "adapter")
        with_adapters = adapted(input_ids=ids).logits
        merged = load(result)(input_ids=ids).logits

    torch.testing.assert_close(with_adapters, merged, atol=1e-5, rtol=0)
    assert (merged - base).abs().max() > 1e-2


def test_the_base_is_recorded_and_the_result_covers_the_adapters(
    published, scratch_model: Path
) -> None:
    store = open_store(published.job.output)
    folder = Path(published.job.output, "model", "adapter")

    assert json.loads((folder / "base.json").read_text()) == {
        "uri": str(scratch_model),
        "digest": files_digest(scratch_model),
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(scratch_model)
    assert (config["r"], config["lora_alpha"]) == (8, 12)
    files = json.loads((folder.parent / "manifest.json").read_text())["files"]
    assert {"adapter/adapter_model.safetensors", "adapter/base.json"} <= set(files)
    digest = store.digest("model")
    (folder / "base.json").write_text("{}")
    publish_model(published)
    assert store.digest("model") == digest, "the same adapters are the same files"


def test_a_model_whose_base_is_another_one_has_another_digest(
    scratch_model: Path, tmp_path
) -> None:
    for path in scratch_model.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert files_digest(tmp_path) == files_digest(scratch_model)
    (tmp_path / "pytorch_model.bin").write_bytes(b"is never loaded")
    assert files_digest(tmp_path) == files_digest(scratch_model)

    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)

    assert files_digest(tmp_path) != files_digest(scratch_model)
