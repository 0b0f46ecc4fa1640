import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from assay_trainer.families.mrope import VisualSpan, mrope_positions


@pytest.fixture(scope="module")
def config(scratch_model) -> Qwen2_5_VLConfig:
    return AutoConfig.from_pretrained(scratch_model)


def layout(media: Sequence[tuple[str, tuple[int, int, int], float]], text: int):
    """Put `text` text tokens before, between and after the media."""
    spans, start = [], text
    for _, grid, seconds in media:
        spans.append(VisualSpan(start, grid, seconds))
        start += math.prod(grid) + text
    return spans, start


def vllm_positions(config, media, spans, num_tokens: int) -> Tensor:
    from vllm.model_executor.models import qwen2_5_vl
    from vllm.multimodal.inputs import (
        MultiModalBatchedField,
        MultiModalFeatureSpec,
        MultiModalFieldElem,
        MultiModalKwargsItem,
        PlaceholderRange,
    )

    def element(data: Tensor) -> MultiModalFieldElem:
        return MultiModalFieldElem(data=data, field=MultiModalBatchedField())

    features = []
    for (kind, (t, h, w), seconds), span in zip(media, spans, strict=True):
        data = {f"{kind}_grid_thw": element(torch.tensor([t, 2 * h, 2 * w]))}
        if kind == "video":
            data["second_per_grid_ts"] = element(torch.tensor(seconds))
        features.append(
            MultiModalFeatureSpec(
                data=MultiModalKwargsItem(data),
                modality=kind,
                identifier=kind,
                mm_position=PlaceholderRange(offset=span.start, length=span.num_tokens),
            )
        )
    model = object.__new__(qwen2_5_vl.Qwen2_5_VLForConditionalGeneration)
    object.__setattr__(model, "config", config)
    return model.get_mrope_input_positions([0] * num_tokens, features)[0]


def transformers_positions(config, media, spans, num_tokens: int) -> Tensor:
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    types = torch.zeros(1, num_tokens, dtype=torch.int)
    for (kind, _, _), span in zip(media, spans, strict=True):
        types[0, span.start : span.start + span.num_tokens] = {"image": 1, "video": 2}[kind]
    grids = {
        kind: torch.tensor([[t, 2 * h, 2 * w] for k, (t, h, w), _ in media if k == kind])
        for kind in {kind for kind, _, _ in media}
    }
    positions, _ = model.model.get_rope_index(
        torch.zeros(1, num_tokens, dtype=torch.long),
        types,
        image_grid_thw=grids.get("image"),
        video_grid_thw=grids.get("video"),
        second_per_grid_ts=torch.tensor([s for k, _, s in media if k == "video"]),
        attention_mask=torch.ones(1, num_tokens, dtype=torch.long),
    )
    return positions[:, 0]


def video(seconds: float, grid: tuple[int, int, int] = (8, 3, 5)):
    """Describe 16 frames over so many seconds, two frames a slice."""
    return [("video", grid, 2 / (16 / seconds))]


MEDIA = {
    "5 s": video(5),
    "20 s": video(20),
    "60 s": video(60),
    "60 s wide": video(60, (8, 2, 13)),
    "7 s": video(7, (8, 1, 1)),
    "two images": [("image", (1, 2, 3), 0.0), ("image", (1, 4, 2), 0.0)],
    "text only": [],
}


@pytest.mark.parametrize("name", MEDIA)
def test_positions_are_those_of_vllm(config, name: str) -> None:
    media = MEDIA[name]
    spans, num_tokens = layout(media, text=7)

    ours = mrope_positions(num_tokens, spans, config.vision_config.tokens_per_second)

    assert torch.equal(ours, vllm_positions(config, media, spans, num_tokens))


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9)),
    fps=st.floats(0.05, 30),
    text=st.integers(1, 5),
)
def test_positions_are_those_of_vllm_for_any_grid_and_rate(config, grid, fps, text) -> None:
    media = [("video", grid, 2 / fps)]
    spans, num_tokens = layout(media, text)

    ours = mrope_positions(num_tokens, spans, config.vision_config.tokens_per_second)

    assert torch.equal(ours, vllm_positions(config, media, spans, num_tokens))


@pytest.mark.parametrize(
    ("name", "agrees"), [("5 s", False), ("20 s", False), ("60 s", False), ("two images", True)]
)
def test_the_rule_of_transformers_is_another_one_after_a_long_video(
    config, name: str, agrees: bool
) -> None:
    media = MEDIA[name]
    spans, num_tokens = layout(media, text=7)

    ours = mrope_positions(num_tokens, spans, config.vision_config.tokens_per_second)
    theirs = transformers_positions(config, media, spans, num_tokens)

    first_after = spans[-1].start + spans[-1].num_tokens
    assert torch.equal(ours[:, :first_after], theirs[:, :first_after])
    assert torch.equal(ours, theirs) is agrees


def test_text_after_a_minute_of_video_starts_at_its_last_moment(config) -> None:
    """Slices 7.5 s apart, 2 positions a second: the eighth is at 105, one beyond it is 106."""
    spans, num_tokens = layout(video(60), text=1)

    positions = mrope_positions(num_tokens, spans, config.vision_config.tokens_per_second)

    assert positions[:, -1].tolist() == [107, 107, 107]
