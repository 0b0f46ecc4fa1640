"""Sizes of models: the counts of parameters are the real ones, and names lead to them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from assay_api import InvalidInput, ScratchModel
from assay_api.base import ModelSource
from assay_operator.sizing.model_lookup import (
    ModelSizes,
    read_shape,
    scratch_shape,
    shape_by_name,
)
from assay_operator.sizing.shape import KNOWN, ModelShape
from assay_trainer.models.scratch import make_scratch_model


def config_of(shape: ModelShape) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "intermediate_size": shape.intermediate,
            "vocab_size": shape.vocabulary,
            "tie_word_embeddings": shape.tied,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [16, 24, 24],
                "rope_theta": 1e6,
            },
        },
        vision_config={
            "hidden_size": shape.vision.hidden,
            "depth": shape.vision.depth,
            "intermediate_size": shape.vision.intermediate,
            "num_heads": shape.vision.heads,
            "out_hidden_size": shape.hidden,
        },
        tie_word_embeddings=shape.tied,
    )


def count(config: PreTrainedConfig) -> tuple[int, int]:
    """Return all parameters, and those of the vision tower, without allocating any."""
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    return model.num_parameters(), model.model.visual.num_parameters()


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # Half of total_size in model.safetensors.index.json of Qwen/NAME-Instruct, BFloat16.
        ("Qwen2.5-VL-3B", 3_754_622_976),
        ("Qwen2.5-VL-7B", 8_292_166_656),
        ("Qwen2.5-VL-32B", 33_452_718_336),
        ("Qwen2.5-VL-72B", 73_410_777_344),
    ],
)
def test_known_models_have_as_many_parameters_as_the_published_weights(
    name: str, published: int
) -> None:
    assert KNOWN[name].parameters == published


@pytest.mark.parametrize("name", ["Qwen2.5-VL-3B", "Qwen2.5-VL-7B"])
def test_transformers_builds_as_many_parameters_from_the_same_sizes(name: str) -> None:
    shape = KNOWN[name]
    assert count(config_of(shape)) == (shape.parameters, shape.vision_parameters)


def test_adapters_are_counted_per_linear() -> None:
    seven = KNOWN["Qwen2.5-VL-7B"]
    # q and o: 3584 -> 3584, k and v: 3584 -> 512, in each of 28 layers.
    expected = 28 * 16 * (2 * (3584 + 3584) + 2 * (3584 + 512))
    assert seven.lora_parameters(16, ("q_proj", "k_proj", "v_proj", "o_proj")) == expected
    assert expected == 10_092_544


def test_a_model_made_on_the_spot_has_as_many_parameters_as_planned(tmp_path: Path) -> None:
    spec = ScratchModel(hidden_size=64, num_layers=2, vocabulary_size=300)
    make_scratch_model(spec, ["a video is real or fake " * 50], tmp_path)
    config = Qwen2_5_VLConfig.from_pretrained(tmp_path)
    shape = replace(scratch_shape(spec), vocabulary=config.text_config.vocab_size)
    assert count(config) == (shape.parameters, shape.vision_parameters)
    assert shape.vocabulary <= spec.vocabulary_size
    assert read_shape(tmp_path / "config.json") == replace(shape, name=tmp_path.name)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///models/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-7B"),
        ("s3://bucket/qwen2.5-vl-3b-instruct/", "Qwen2.5-VL-3B"),
        ("/models/my-Qwen2.5-VL-72B_genbuster", "Qwen2.5-VL-72B"),
        ("file:///models/SophiaVL-R1-Thinking-Reward-Model-3B", "Qwen2.5-VL-3B"),
        ("s3://bucket/BusterX_plusplus", "Qwen2.5-VL-7B"),
    ],
)
def test_names_tell_the_sizes(uri: str, name: str) -> None:
    found = shape_by_name(uri)
    assert found is not None and found.name == name


@pytest.mark.parametrize(
    "uri", ["s3://bucket/Qwen2.5-VL-7B/mine", "s3://b/xQwen2.5-VL-7Bx", "s3://"]
)
def test_other_names_tell_nothing(uri: str) -> None:
    assert shape_by_name(uri) is None


def test_a_model_from_a_stage_has_the_sizes_of_what_that_stage_began_with() -> None:
    sizes = ModelSizes(
        {
            "first": ModelSource(uri="s3://models/Qwen2.5-VL-3B-Instruct"),
            "second": ModelSource(from_stage="first"),
        }
    )
    found = sizes.of(ModelSource(from_stage="second"), "TrainingStage/third")
    assert found.name == "Qwen2.5-VL-3B"


def test_a_model_that_nobody_knows_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        InvalidInput, match=r"s3://b/own: its sizes are not known .* --model-config"
    ):
        ModelSizes({}).of(ModelSource(uri="s3://b/own"), "TrainingStage/a")


def test_a_flat_config_as_published_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own" / "config.json"
    path.parent.mkdir()
    flat = {
        "model_type": "qwen2_5_vl",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
        },
    }
    path.write_text(json.dumps(flat))
    assert read_shape(path) == replace(KNOWN["Qwen2.5-VL-7B"], name="own")
    assert ModelSizes({}).of(ModelSource(uri=f"file://{path.parent}"), "X").name == "own"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as a model's config.json"),
        ('{"model_type": "llama"}', "field model_type: got 'llama'"),
        ('{"model_type": "qwen2_5_vl"}', "field hidden_size: got None, must be an integer >= 1"),
    ],
)
def test_a_wrong_config_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_shape(path)
