"""DeepSpeed's optimiser step on a model of a few weights, against AdamW written out."""

import copy
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_update import PlainAdamW, learning_rate
from torch import Tensor, nn

from assay_api.optimizer import Optimizer
from assay_api.running import Placement
from assay_trainer.learner.deepspeed_engine import DeepSpeedLearner
from assay_trainer.learner.learner import CompletionLogprobs, Update

DTYPES = {"Float32": torch.float32, "BFloat16": torch.bfloat16}
OPTIMIZER = {
    "learningRate": 0.05,
    "schedule": "Linear",
    "warmupSteps": 0,
    "weightDecay": 0.3,
    "beta1": 0.8,
    "beta2": 0.9,
    "maxGradNorm": 0.5,
}
TOTAL_STEPS = 6
EVERY_STAGE_AND_PRECISION = pytest.mark.parametrize(
    ("zero_stage", "precision"), list(product((0, 1, 2), DTYPES))
)


class SmallScorer(nn.Module):
    """Scores features, [token, 5], by a linear layer over seven tokens."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(7, 5, generator=draw).to(dtype))
        self.bias = nn.Parameter(torch.randn(7, generator=draw).to(dtype))

    def forward(self, features: Tensor) -> CompletionLogprobs:
        logits = (features.to(self.weight.dtype) @ self.weight.T + self.bias).float()
        table = logits.log_softmax(-1)
        return CompletionLogprobs(logprobs=table, entropy=table.detach())


class Run:
    """A learner, and beside it the same steps written out."""

    def __init__(self, zero_stage: int, precision: str, **changes: Any) -> None:
        self.optimizer = OPTIMIZER | changes
        self.scorer = SmallScorer(DTYPES[precision])
        self.plain = copy.deepcopy(self.scorer)
        self.trained = [self.plain.weight, self.plain.bias]
        self._adamw = PlainAdamW(self.trained, self.optimizer)
        self.learner = DeepSpeedLearner(
            self.scorer,
            Optimizer.model_validate(self.optimizer),
            Placement(zero_stage=zero_stage, precision=precision),
            total_steps=TOTAL_STEPS,
        )
        self._draw = torch.Generator().manual_seed(1)
        self.done = 0

    def draw(self, num_batches: int) -> list[tuple[Tensor, Tensor]]:
        """Return features and what each token's log-probability is worth, by micro-batch."""
        return [
            (torch.randn(4, 5, generator=self._draw), torch.randn(4, 7, generator=self._draw))
            for _ in range(num_batches)
        ]

    def step(self, batches: list[tuple[Tensor, Tensor]]) -> Update:
        self.done += 1
        return self.learner.update([(features, self._loss(worth)) for features, worth in batches])

    @staticmethod
    def _loss(worth: Tensor):
        return lambda out: -(out.logprobs * worth).sum()

    def plain_step(self, batches: list[tuple[Tensor, Tensor]], done: int) -> Update:
        gradients = [torch.zeros_like(weight, dtype=torch.float64) for weight in self.trained]
        for features, worth in batches:
            self.plain.zero_grad()
            self._loss(worth)(self.plain(features)).backward()
            for gradient, weight in zip(gradients, self.trained, strict=True):
                gradient += weight.grad
        rate = learning_rate(
            done,
            peak=self.optimizer["learningRate"],
            warmup=self.optimizer["warmupSteps"],
            total=TOTAL_STEPS,
            linear=True,
        )
        return Update(self._adamw.step(gradients, rate), rate)


@pytest.fixture
def make_run(lone_rank: None):
    return Run


def check_weights(run: Run, **tolerance: float) -> None:
    for name in ("weight", "bias"):
        found, expected = getattr(run.scorer, name), getattr(run.plain, name)
        torch.testing.assert_close(found, expected, **tolerance)


@EVERY_STAGE_AND_PRECISION
def test_every_step_is_that_of_plain_adamw(make_run, zero_stage: int, precision: str) -> None:
    """In BFloat16 a weight may be rounded to its neighbour, 2^-8 away; the two agree otherwise."""
    run = make_run(zero_stage, precision)

    for done in range(4):
        batches = run.draw(1)
        update, expected = run.step(batches), run.plain_step(batches, done)

        assert update.learning_rate == pytest.approx(expected.learning_rate)
        assert update.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
        assert update.grad_norm > 0.5, "or nothing would be clipped"
        check_weights(run, atol=1e-6, rtol=1e-6 if precision == "Float32" else 2**-8)


@EVERY_STAGE_AND_PRECISION
def test_a_step_is_on_the_sum_of_its_micro_batches(
    make_run, zero_stage: int, precision: str
) -> None:
    """In BFloat16 the sum of gradients is rounded to 2^-9 at each addition."""
    run = make_run(zero_stage, precision, maxGradNorm=1e6, warmupSteps=1)

    for done in range(3):
        batches = run.draw(4)
        update, expected = run.step(batches), run.plain_step(batches, done)

        close = 1e-5 if precision == "Float32" else 2**-7
        assert update.grad_norm == pytest.approx(expected.grad_norm, rel=close)
    check_weights(run, atol=1e-5 if precision == "Float32" else 2e-2, rtol=2**-8)


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_epsilon_is_that_of_adamw(make_run, zero_stage: int) -> None:
    """Gradients are clipped to the size of epsilon, which then halves the steps."""
    run = make_run(zero_stage, "Float32", maxGradNorm=1e-7, weightDecay=0.0)
    start = run.scorer.weight.clone()

    for done in range(4):
        batches = run.draw(1)
        run.step(batches)
        run.plain_step(batches, done)

    moved, expected = run.scorer.weight - start, run.plain.weight - start
    assert (moved - expected).norm() < 1e-3 * expected.norm()


@EVERY_STAGE_AND_PRECISION
def test_a_resumed_learner_goes_on_bit_for_bit(
    make_run, tmp_path: Path, zero_stage: int, precision: str
) -> None:
    run = make_run(zero_stage, precision)
    batches = run.draw(6)
    for place in (0, 1, 2):
        run.step(batches[place : place + 1])
    run.learner.save(tmp_path)
    expected = [run.step(batches[place : place + 1]) for place in (3, 4)]

    resumed = make_run(zero_stage, precision)
    resumed.learner.load(tmp_path)
    found = [resumed.step(batches[place : place + 1]) for place in (3, 4)]

    assert found == expected
    assert torch.equal(resumed.scorer.weight, run.scorer.weight)
    assert torch.equal(resumed.scorer.bias, run.scorer.bias)


@EVERY_STAGE_AND_PRECISION
def test_a_gradient_that_is_not_finite_is_told(make_run, zero_stage: int, precision: str) -> None:
    run = make_run(zero_stage, precision)
    ((features, worth),) = run.draw(1)

    update = run.step([(features, worth * math.nan)])

    assert not math.isfinite(update.grad_norm)


def test_scoring_keeps_no_gradient(make_run) -> None:
    run = make_run(2, "Float32")
    ((features, _),) = run.draw(1)

    out = run.learner.score(features)

    assert not out.logprobs.requires_grad
    torch.testing.assert_close(out.logprobs, run.plain(features).logprobs.detach())
