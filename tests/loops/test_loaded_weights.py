"""What learner and engine compare after a weight sync; engines do so in tests/engines."""

import hashlib

import pytest
import torch

from assay_api.stage import Lora
from assay_trainer.rollout.loaded_weights import LoadedWeights, mismatch, weights_to_load

PREFIX = "base_model.model.model.language_model.layers.0.self_attn.q_proj"


def sha256(text: str, tensor: torch.Tensor) -> str:
    return hashlib.sha256(text.encode() + tensor.numpy().tobytes()).hexdigest()


def test_a_digest_is_that_of_format_shape_and_bytes() -> None:
    weight = torch.tensor([[1.0, -2.5], [0.0, 3.0]])

    found = weights_to_load({"model.norm.weight": weight}, torch.float32, None)

    assert found.digests == {"norm.weight": sha256("torch.float32 (2, 2) ", weight)}
    assert found.num_adapted_modules == 0


def test_b_of_an_adapter_is_scaled_in_the_format_of_the_engine() -> None:
    """1.5 times the BFloat16 next to 1 lies between two of them."""
    a, b = torch.ones(8, 2), torch.full((2, 8), 1.0 + 2**-7)
    exported = {f"{PREFIX}.lora_A.weight": a, f"{PREFIX}.lora_B.weight": b}

    found = weights_to_load(exported, torch.bfloat16, Lora(rank=8, alpha=12))

    rounded = torch.full((2, 8), 1.515625, dtype=torch.bfloat16)
    wanted = sha256("torch.bfloat16 (2, 8) ", rounded.view(torch.int16))
    assert found.digests["layers.0.self_attn.q_proj.lora_B.weight"] == wanted
    assert found.num_adapted_modules == 1


def test_minus_zero_is_zero() -> None:
    zeros = {"w": torch.tensor([0.0])}, {"w": torch.tensor([-0.0])}

    one, two = (weights_to_load(weights, torch.float32, None) for weights in zeros)

    assert one == two


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (LoadedWeights({"a": "1", "b": "2"}, 1), None),
        (LoadedWeights({"a": "1", "b": "2", "frozen": "3"}, 1), None),
        (
            LoadedWeights({"a": "1", "b": "9"}, 1),
            "1 of 2 tensors differ from the learner's, such as b; 1 modules are adapted, of 1 that "
            "the learner adapts",
        ),
        (
            LoadedWeights({}, 0),
            "2 of 2 tensors differ from the learner's, such as a; 0 modules are adapted, of 1 that "
            "the learner adapts",
        ),
        (
            LoadedWeights({"a": "1", "b": "2"}, 2),
            "0 of 2 tensors differ from the learner's; 2 modules are adapted, of 1 that the "
            "learner adapts",
        ),
    ],
)
def test_what_differs_is_counted(found: LoadedWeights, told: str | None) -> None:
    assert mismatch(LoadedWeights({"a": "1", "b": "2"}, 1), found) == told
