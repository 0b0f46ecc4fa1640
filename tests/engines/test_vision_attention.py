"""Attention of the vision tower by window size, against transformers' own, window by window."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from assay_trainer.models.policy import load_policy


def features_and_gradients(
    model: Qwen2_5_VLForConditionalGeneration, patches: Tensor, grid: Tensor
) -> list[Tensor]:
    features = torch.cat(model.model.get_video_features(patches, grid).pooler_output)
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    tower = model.model.visual
    return [features.detach(), *(w.grad for w in tower.parameters() if w.grad is not None)]


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param([[8, 4, 4], [8, 4, 4]], id="windows of one size"),
        pytest.param([[2, 10, 14], [1, 4, 6]], id="cut windows at the edges, two clips"),
    ],
)
def test_features_and_gradients_are_those_of_transformers(
    scratch_model: Path, grid: list[list[int]]
) -> None:
    policy = load_policy(scratch_model, precision="Float32", lora=None, freeze_vision_tower=False)
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        scratch_model, dtype=torch.float32, attn_implementation="sdpa"
    )
    sizes = torch.tensor(grid)
    patches = torch.randn(
        int(sizes.prod(-1).sum()), 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0)
    )

    found = features_and_gradients(policy.base, patches, sizes)

    expected = features_and_gradients(theirs, patches, sizes)
    assert len(found) == len(expected) > 10
    for ours, own in zip(found, expected, strict=True):
        assert (ours - own).norm() <= 1e-5 * own.norm()


def test_a_saved_model_says_nothing_about_how_it_was_attended(
    scratch_model: Path, tmp_path: Path
) -> None:
    load_policy(scratch_model, precision="Float32", lora=None, freeze_vision_tower=True).save(
        tmp_path
    )

    assert "assay" not in (tmp_path / "config.json").read_text()
