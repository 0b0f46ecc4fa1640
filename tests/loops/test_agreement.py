"""How far sampler and learner are apart, what that means, and the numbers that a stage records."""

import logging
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay_trainer.loops.agreement import LIMITS, alarms, disagreement, warn_of_disagreement

LOGPROBS = st.lists(st.floats(-20.0, 0.0, width=32), min_size=1, max_size=8)
MASK = torch.ones(1, 3, dtype=torch.bool)


def test_by_hand() -> None:
    """d is 0, 0.1 and -0.2: exp(d) - 1 - d is 0, 0.0051709 and 0.0187308."""
    sampler = torch.tensor([[-1.0, -2.0, -3.0]])
    found = disagreement(sampler + torch.tensor([[0.0, 0.1, -0.2]]), sampler, MASK, far_nats=0.15)

    assert found.largest_nats == pytest.approx(0.2, abs=1e-6)
    assert found.total_nats == pytest.approx(0.3, abs=1e-6)
    assert found.kl_nats == pytest.approx(0.0239017, abs=1e-6)
    assert found.num_far == 1


def test_padding_does_not_count_whatever_stands_there() -> None:
    learner = torch.tensor([[-1.0, math.nan, math.inf]])
    mask = torch.tensor([[True, False, False]])

    found = disagreement(learner, torch.tensor([[-1.5, 0.0, 0.0]]), mask, far_nats=1.0)

    assert (found.total_nats, found.num_far) == (0.5, 0)


@given(LOGPROBS, LOGPROBS)
def test_the_estimate_is_never_negative_and_zero_only_for_equal_ones(one, two) -> None:
    size = min(len(one), len(two))
    learner, sampler = torch.tensor([one[:size]]), torch.tensor([two[:size]])

    found = disagreement(learner, sampler, torch.ones(1, size, dtype=torch.bool), far_nats=0.1)

    assert found.kl_nats >= 0
    assert (found.kl_nats > 0) == bool((learner != sampler).any()) or found.largest_nats < 1e-7


def test_the_estimate_is_the_divergence_on_average() -> None:
    """Over all tokens, weighted as the sampler draws them."""
    sampler, learner = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    exact = (sampler * (sampler / learner).log()).sum().item()
    estimates = [
        disagreement(q.log()[None, None], p.log()[None, None], MASK[:, :1], far_nats=1.0).kl_nats
        for q, p in zip(learner, sampler, strict=True)
    ]

    assert sum(p.item() * e for p, e in zip(sampler, estimates, strict=True)) == pytest.approx(
        exact, abs=1e-6
    )


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_each_statistic_beyond_its_limit_is_an_alarm(precision: str, caplog) -> None:
    limits = LIMITS[precision]
    bounds = {
        "logprob/mean_difference": limits.mean_nats,
        "logprob/kl": limits.kl_nats,
        "logprob/far_tokens": limits.share_far,
    }
    assert alarms(bounds, precision) == []
    for name, bound in bounds.items():
        for value in (bound * 1.01, math.nan):
            (alarm,) = alarms(bounds | {name: value}, precision)
            assert alarm.startswith(f"{name} is ")

    with caplog.at_level(logging.WARNING):
        warn_of_disagreement(bounds, precision)
        assert not caplog.records
        warn_of_disagreement({name: 2.0 for name in bounds}, precision)
    assert "sampler and learner disagree: logprob/mean_difference is 2, above" in caplog.text
