"""The learning rate of each step is that of transformers' schedules."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from assay_api.optimizer import Optimizer
from assay_trainer.learner.schedule import learning_rate_schedule, num_warmup_steps

NAMES = {"Linear": "linear", "Constant": "constant_with_warmup"}


def adamw(peak: float) -> torch.optim.AdamW:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)


def rates(optimizer: torch.optim.AdamW, schedule, num_steps: int) -> list[float]:
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def our_rates(wanted: Optimizer, total_steps: int) -> list[float]:
    optimizer = adamw(wanted.learning_rate)
    return rates(optimizer, learning_rate_schedule(optimizer, wanted, total_steps), total_steps)


@settings(deadline=None, max_examples=50)
@given(
    schedule=st.sampled_from(sorted(NAMES)),
    total_steps=st.integers(1, 40),
    warmup_steps=st.integers(0, 50),
    peak=st.floats(1e-8, 0.5),
)
def test_every_step_has_the_rate_of_transformers_schedule(
    schedule: str, total_steps: int, warmup_steps: int, peak: float
) -> None:
    theirs = adamw(peak)
    expected = rates(
        theirs, get_scheduler(NAMES[schedule], theirs, warmup_steps, total_steps), total_steps
    )

    wanted = Optimizer(learning_rate=peak, schedule=schedule, warmup_steps=warmup_steps)
    assert our_rates(wanted, total_steps) == expected


@pytest.mark.parametrize("schedule", NAMES)
def test_the_step_after_the_warm_up_has_the_peak_rate(schedule: str) -> None:
    wanted = Optimizer(learning_rate=0.1, schedule=schedule, warmup_steps=10)

    found = our_rates(wanted, 100)

    assert found[:11] == pytest.approx([0.01 * step for step in range(11)])
    assert max(found) == found[10] == 0.1
    last = 0.1 if schedule == "Constant" else 0.1 / 90
    assert found[99] == pytest.approx(last)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_cosine_goes_from_the_peak_to_its_floor(
    total_steps: int, warmup_ratio: float, floor: float
) -> None:
    wanted = Optimizer(learning_rate=0.1, schedule="Cosine", warmup_ratio=warmup_ratio, floor=floor)
    num_warmup, found = num_warmup_steps(wanted, total_steps), our_rates(wanted, total_steps)
    assert num_warmup == math.ceil(warmup_ratio * total_steps)
    for step, rate in enumerate(found):
        if step < num_warmup:
            expected = 0.1 * step / num_warmup
        else:
            done = (step - num_warmup) / max(1, total_steps - num_warmup)
            expected = 0.1 * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
        assert rate == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_without_a_warm_up_the_first_step_has_the_peak_rate() -> None:
    wanted = Optimizer(learning_rate=0.1, schedule="Linear")

    assert our_rates(wanted, 4) == pytest.approx([0.1, 0.075, 0.05, 0.025])
