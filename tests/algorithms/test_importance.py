import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay_trainer.algorithms.importance import importance_weights

logprobs = st.floats(-60, 0)


def test_hand_computed() -> None:
    learner = torch.log(torch.tensor([[0.3, 0.5, 0.4]], dtype=torch.float64))
    sampler = torch.log(torch.tensor([[0.6, 0.1, 0.4]], dtype=torch.float64))
    weights = importance_weights(learner, sampler, torch.ones(1, 3, dtype=torch.bool), cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 2.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_padding_may_hold_anything(padding: float) -> None:
    mask = torch.tensor([[True, False]])
    learner = torch.tensor([[-1.0, padding]], requires_grad=True)
    weights = importance_weights(learner, torch.tensor([[-1.0, -1.0]]), mask, cap=2.0)
    assert weights.tolist() == [[1.0, 1.0]]


def test_no_gradient_flows() -> None:
    learner = torch.tensor([[-1.0]], requires_grad=True)
    sampler = torch.tensor([[-2.0]], requires_grad=True)
    weights = importance_weights(learner, sampler, torch.tensor([[True]]), cap=2.0)
    assert not weights.requires_grad


@given(logprobs, logprobs, st.floats(1, 10))
def test_weights_are_positive_capped_and_monotonic(low: float, high: float, cap: float) -> None:
    low, high = sorted((low, high))
    learner = torch.tensor([[low, high]], dtype=torch.float64)
    sampler = torch.full((1, 2), -30.0, dtype=torch.float64)
    mask = torch.ones(1, 2, dtype=torch.bool)
    lower, higher = importance_weights(learner, sampler, mask, cap=cap)[0].tolist()
    assert 0 < lower <= higher <= cap


@pytest.mark.parametrize("cap", [0.5, float("nan")])
def test_a_cap_below_one_is_refused(cap: float) -> None:
    one = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="cap must be at least 1"):
        importance_weights(one, one, torch.ones(1, 1, dtype=torch.bool), cap=cap)
