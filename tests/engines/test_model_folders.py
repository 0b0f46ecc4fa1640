import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from assay_api import InvalidInput
from assay_api.stage import Lora
from assay_trainer.chat import IMAGE, VIDEO
from assay_trainer.families.qwen2_5_vl import Qwen25VlEncoder
from assay_trainer.models.policy import load_policy
from assay_trainer.records import Clip, Pictures

REMEDY = "give a folder in the Hugging Face format, such as that of Qwen2.5-VL-7B-Instruct"


@pytest.fixture
def folder(scratch_model: Path, tmp_path: Path) -> Path:
    """A copy of a good model to break."""
    return Path(shutil.copytree(scratch_model, tmp_path / "model"))


def load(folder: Path, lora: Lora | None = None):
    return load_policy(folder, precision="Float32", lora=lora, freeze_vision_tower=True)


def test_a_scratch_model_loads_unchanged_in_transformers(scratch_model: Path) -> None:
    model, report = AutoModelForImageTextToText.from_pretrained(
        scratch_model, output_loading_info=True
    )
    processor = AutoProcessor.from_pretrained(scratch_model)

    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert not any(report.values()), report
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 56, 84, 3), dtype=np.uint8)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Real? /think"}]},
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{VIDEO}Real? /think<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = processor(
        text=[text],
        videos=[frames.transpose(0, 3, 1, 2)],
        do_sample_frames=False,
        fps=4.0,
        return_tensors="pt",
    )
    encoded = Qwen25VlEncoder(processor, 2.0).encode(text, Clip(frames, fps=4.0))
    assert encoded.token_ids == tuple(inputs["input_ids"][0].tolist())
    assert torch.equal(encoded.visual.pixel_values, inputs["pixel_values_videos"])
    assert encoded.visual.grid_thw.tolist() == [[8, 4, 6]]
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]


def test_images_are_encoded_as_transformers_does(scratch_model: Path) -> None:
    processor = AutoProcessor.from_pretrained(scratch_model)
    frames = np.random.default_rng(0).integers(0, 255, (4, 56, 84, 3), dtype=np.uint8)
    text = f"{IMAGE}{IMAGE}Which?"

    encoded = Qwen25VlEncoder(processor, 2.0).encode(text, Pictures(frames[[1, 3]]))

    shown = [torch.tensor(frames[index]).permute(2, 0, 1) for index in (1, 3)]
    inputs = processor(text=[text], images=shown, return_tensors="pt")
    assert encoded.token_ids == tuple(inputs["input_ids"][0].tolist())
    assert torch.equal(encoded.visual.pixel_values, inputs["pixel_values"])


def test_the_same_seed_makes_the_same_scratch_model(scratch_model: Path, tmp_path: Path) -> None:
    policy = load(scratch_model)
    policy.save(tmp_path)

    again = load(tmp_path).model.state_dict()

    for name, tensor in policy.model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_a_folder_without_a_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()

    with pytest.raises(InvalidInput) as caught:
        load(folder)

    assert str(caught.value) == f"model {folder}: no config.json there; {REMEDY}"


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    found = ", ".join(sorted(path.name for path in folder.iterdir()))

    with pytest.raises(InvalidInput) as caught:
        load(folder)

    assert str(caught.value) == (
        f"model {folder}: no weights (*.safetensors) there, found {found}; {REMEDY}"
    )


@pytest.mark.parametrize("name", ["mistral", "not_known_to_transformers", None])
def test_another_architecture_is_refused(folder: Path, name: str | None) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": name}))

    with pytest.raises(InvalidInput) as caught:
        load(folder)

    assert str(caught.value) == (
        f"model {folder}: config.json has model_type {name!r}, allowed are 'qwen2_5_vl', 'qwen2', "
        "'qwen3', 'llama'; give the folder of such a model, in the Hugging Face format"
    )


def test_a_damaged_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")

    with pytest.raises(InvalidInput, match=re.escape(f"{folder}/config.json: not JSON")):
        load(folder)


def test_targets_that_name_no_layer_are_refused(scratch_model: Path) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.lora\.targets: query name no layer .* q_proj"):
        load(scratch_model, Lora(targets=("query",)))
