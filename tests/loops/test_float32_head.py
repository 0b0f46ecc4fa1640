"""Logits in Float32 from weights in either format."""

import pytest
import torch
from torch import nn

from assay_trainer.families.float32_head import Float32Head, Float32Logits


def test_logits_of_bfloat16_are_not_rounded() -> None:
    head = nn.Linear(64, 32, bias=False).bfloat16()
    states = torch.randn(5, 64, dtype=torch.bfloat16) * 8
    exact = states.double() @ head.weight.double().t()

    logits = Float32Head(head)(states)

    assert logits.dtype is torch.float32
    assert (logits - exact).abs().max() < 1e-4
    assert (head(states) - exact).abs().max() > 1e-3, "which is what it is for"


def test_gradients_are_those_of_a_matrix_product() -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(5, 4, requires_grad=True)
    factor = torch.randn(3, 5)

    (Float32Logits.apply(states, weight) * factor).sum().backward()

    assert torch.allclose(states.grad, factor @ weight)
    assert torch.allclose(weight.grad, factor.t() @ states)


@pytest.mark.parametrize("trains", [True, False])
def test_the_weight_stays_the_same_one_and_a_frozen_one_gets_no_gradient(trains: bool) -> None:
    linear = nn.Linear(4, 6, bias=False).bfloat16().requires_grad_(trains)
    head = Float32Head(linear)
    states = torch.randn(2, 4, dtype=torch.bfloat16, requires_grad=True)

    head(states).sum().backward()

    assert head.weight is linear.weight and list(head.state_dict()) == ["weight"]
    assert (head.weight.grad is not None) == trains
    assert states.grad.dtype is torch.bfloat16
