"""What the learner's forward keeps is what the plan says, to the byte: measured by hooks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from assay_api.stage import Lora
from assay_operator.sizing.activations import (
    TRAINER,
    Forward,
    MicroBatch,
    Trained,
    layer_bytes,
    text_bytes,
    vision_bytes,
)
from assay_operator.sizing.shape import KNOWN, ModelShape, VisionShape
from assay_trainer.families.batch import Completion, collate
from assay_trainer.families.inputs import EncodedPrompt, Visual
from assay_trainer.families.mrope import VisualSpan, mrope_positions
from assay_trainer.families.qwen2_5_vl import FAMILY
from assay_trainer.families.vision_attention import attend_by_window_size
from assay_trainer.learner.forward import RowScorer
from assay_trainer.models.policy import _adapted

SHAPE = ModelShape(
    name="tiny",
    hidden=128,
    layers=3,
    heads=4,
    kv_heads=2,
    intermediate=352,
    vocabulary=500,
    tied=False,
    vision=VisionShape(hidden=64, depth=3, intermediate=144, heads=4),
)
VIDEO_ID = 491
ROWS, COMPLETION, GRID = 3, 30, (2, 6, 8)
PATCHES = GRID[0] * GRID[1] * GRID[2]
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION = ALL[:4]


def tiny_model() -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": SHAPE.vocabulary,
                "hidden_size": SHAPE.hidden,
                "intermediate_size": SHAPE.intermediate,
                "num_hidden_layers": SHAPE.layers,
                "num_attention_heads": SHAPE.heads,
                "num_key_value_heads": SHAPE.kv_heads,
                "rope_parameters": rope,
                "bos_token_id": 0,
                "eos_token_id": 1,
            },
            vision_config={
                "depth": SHAPE.vision.depth,
                "hidden_size": SHAPE.vision.hidden,
                "intermediate_size": SHAPE.vision.intermediate,
                "num_heads": SHAPE.vision.heads,
                "out_hidden_size": SHAPE.hidden,
                "window_size": 112,
                "fullatt_block_indexes": [2],
                "tokens_per_second": 2,
            },
            image_token_id=490,
            video_token_id=VIDEO_ID,
            vision_start_token_id=492,
            vision_end_token_id=493,
            tie_word_embeddings=False,
        )
    )
    model.config.use_cache = False
    attend_by_window_size(model)
    return model


def prompt() -> EncodedPrompt:
    tokens = PATCHES // 4
    visual = Visual("video", torch.randn(PATCHES, 1176), torch.tensor([GRID]))
    span = VisualSpan(7, (GRID[0], GRID[1] // 2, GRID[2] // 2), 0.5)
    ids = (5,) * 7 + (VIDEO_ID,) * tokens + (6,) * 9
    return EncodedPrompt(ids, mrope_positions(len(ids), [span], 2.0), visual)


def saved_bytes(model: torch.nn.Module) -> int:
    """Return the bytes that the trainer's own forward saves for its backward, weights left out."""
    encoded = prompt()
    rows = [Completion(encoded, (9,) * COMPLETION)] * ROWS
    batch = collate(rows, pad_id=0)
    weights = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    scorer = RowScorer(model, FAMILY, banned_ids=(490,), temperature=1.0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = scorer(batch)
    assert out.logprobs.requires_grad
    return sum(t.untyped_storage().nbytes() for p, t in saved.items() if p not in weights)


def micro_batch() -> MicroBatch:
    prompt_tokens = 7 + PATCHES // 4 + 9
    return MicroBatch(
        rows=ROWS, groups=1, prompt_tokens=prompt_tokens, completion_tokens=COMPLETION
    )


def planned(number_bytes: int, trained: Trained, form: Forward = TRAINER) -> int:
    return text_bytes(SHAPE, number_bytes, trained, micro_batch(), form)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_all_weights_trained(dtype: torch.dtype) -> None:
    model = tiny_model().to(dtype)
    model.model.visual.requires_grad_(False)
    assert saved_bytes(model) == planned(dtype.itemsize, Trained(full=True, vision=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_vision_tower_trained_too(dtype: torch.dtype) -> None:
    model = tiny_model().to(dtype)
    text = planned(dtype.itemsize, Trained(full=True, vision=True))
    vision = vision_bytes(SHAPE, dtype.itemsize, PATCHES, clips=1)
    assert saved_bytes(model) == text + vision


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("targets", [ATTENTION, ALL], ids=["attention", "all"])
def test_adapters_trained(dtype: torch.dtype, targets: tuple[str, ...]) -> None:
    adapted = _adapted(tiny_model().to(dtype), FAMILY, Lora(rank=8, targets=targets)).to(dtype)
    trained = Trained(full=False, vision=False, targets=targets, rank=8)
    assert saved_bytes(adapted) == planned(dtype.itemsize, trained)


@pytest.mark.parametrize("targets", [("v_proj",), ("gate_proj",), ("down_proj",)])
def test_adapters_on_later_linears_keep_less_of_the_first_layer(targets: tuple[str, ...]) -> None:
    adapted = _adapted(tiny_model(), FAMILY, Lora(rank=8, targets=targets))
    trained = Trained(full=False, vision=False, targets=targets, rank=8)
    layer = layer_bytes(SHAPE, 4, trained)
    tokens = micro_batch().tokens(TRAINER)
    assert 0 <= planned(4, trained) - saved_bytes(adapted) < tokens * layer


def test_layers_that_are_computed_again_keep_their_input() -> None:
    model = tiny_model()
    model.model.visual.requires_grad_(False)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    trained = Trained(full=True, vision=False)
    again_form = replace(TRAINER, checkpointing=True)
    tokens = micro_batch().tokens(again_form)
    # The plan adds the layer that is being computed again, and the rotary tables, which are the
    # layers' arguments and not in what they save.
    again = planned(4, trained, again_form) - saved_bytes(model)
    assert again == tokens * (layer_bytes(SHAPE, 4, trained) + 2 * 4 * SHAPE.head_size)


def test_a_row_of_the_7b_model_by_hand() -> None:
    trained = Trained(full=False, vision=False, targets=ATTENTION, rank=16)
    batch = MicroBatch(rows=1, groups=1, prompt_tokens=1500, completion_tokens=750)
    layer = (
        2 * (4 * 3584 + 4)  # norms
        + 2 * (2 * 3584 + 2 * 512)  # queries and output, keys and values
        + 4 * 28  # a float32 per head
        + 2 * 3584  # input of q, k and v
        + 3 * 2 * 18944  # gate, its activation, up
        + 2 * 16 * 4  # inner values of adapters
    )
    around = 2 * 2 * 128 + (4 * 3584 + 4) + 2 * 3584 - (4 * 3584 + 4)
    expected = 2250 * (28 * layer + around) + 750 * (2 * 3584 + 17)
    assert text_bytes(KNOWN["Qwen2.5-VL-7B"], 2, trained, batch) == expected
    assert expected / 2**30 == pytest.approx(9.77, abs=0.01)
