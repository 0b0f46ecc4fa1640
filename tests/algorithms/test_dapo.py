import math

import pytest
import torch
from torch import Tensor

from assay_trainer.algorithms.losses import dapo
from assay_trainer.algorithms.losses.policy_loss import BatchSize, Clip, PolicyLoss, PolicyTokens


def dapo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    importance_weights: Tensor,
    completion_mask: Tensor,
    *,
    num_tokens: int,
) -> PolicyLoss:
    tokens = PolicyTokens(logprobs, old_logprobs, advantages, importance_weights, completion_mask)
    return dapo.dapo_loss(tokens, BatchSize(num_tokens, 1, 1), Clip(0.2, 0.28))


def batch(seed: int = 0, rows: int = 6, tokens: int = 9) -> dict[str, Tensor]:
    """A batch with completions of all lengths, ratios on both sides of the clip."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    lengths = torch.arange(rows)[:, None] % tokens + 1
    old = normal(rows, tokens) - 2
    return {
        "logprobs": old + 0.3 * normal(rows, tokens),
        "old_logprobs": old,
        "advantages": normal(rows)[:, None].expand(-1, tokens),
        "importance_weights": normal(rows, tokens).exp(),
        "completion_mask": torch.arange(tokens)[None] < lengths,
    }


@pytest.mark.parametrize(
    ("probability_ratio", "advantage", "gain", "clipped"),
    [
        (1.0, 1.0, 1.0, False),
        (1.5, 1.0, 1.28, True),
        (0.5, 1.0, 0.5, False),
        (1.5, -1.0, -1.5, False),
        (0.5, -1.0, -0.8, True),
        (1.2, 2.0, 2.4, False),
        (3.0, 0.0, 0.0, False),
    ],
)
def test_one_token_by_hand(
    probability_ratio: float, advantage: float, gain: float, clipped: bool
) -> None:
    out = dapo_loss(
        torch.tensor([[math.log(probability_ratio)]], dtype=torch.float64),
        torch.zeros(1, 1, dtype=torch.float64),
        torch.tensor([[advantage]], dtype=torch.float64),
        torch.full((1, 1), 0.5, dtype=torch.float64),
        torch.ones(1, 1, dtype=torch.bool),
        num_tokens=4,
    )
    assert out.loss.item() == pytest.approx(-0.5 * gain / 4)
    assert out.clip_fraction.item() == float(clipped)


def test_every_token_weighs_the_same_whatever_the_length_of_its_completion() -> None:
    logprobs = torch.full((2, 4), -1.0, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    ones = torch.ones(2, 4)
    dapo_loss(
        logprobs,
        logprobs.detach(),
        torch.tensor([[1.0], [-1.0]]).expand(2, 4),
        ones,
        mask,
        num_tokens=5,
    ).loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [
        pytest.approx([-0.2] * 4),
        pytest.approx([0.2, 0.0, 0.0, 0.0]),
    ]


def test_with_one_update_the_gradient_is_that_of_the_weighted_policy_gradient() -> None:
    tensors = batch()
    logprobs = tensors["logprobs"].requires_grad_()
    tensors["old_logprobs"] = logprobs.detach()
    dapo_loss(**tensors, num_tokens=7).loss.backward()
    weighted = tensors["advantages"] * tensors["importance_weights"]
    expected = -weighted * tensors["completion_mask"] / 7
    torch.testing.assert_close(logprobs.grad, expected)


def test_each_token_goes_by_its_own_advantage() -> None:
    logprobs = torch.full((1, 3), -1.0, requires_grad=True)
    advantages, ones = torch.tensor([[2.0, -2.0, 0.0]]), torch.ones(1, 3)
    mask = torch.ones(1, 3, dtype=torch.bool)
    dapo_loss(logprobs, logprobs.detach(), advantages, ones, mask, num_tokens=3).loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist()[0] == pytest.approx([-2 / 3, 2 / 3, 0.0])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (2, 4), (5, 1), (6,)])
def test_micro_batch_losses_and_gradients_add_up_to_the_batch(sizes: tuple[int, ...]) -> None:
    tensors = batch()
    num_tokens = int(tensors["completion_mask"].sum())
    whole = tensors["logprobs"].clone().requires_grad_()
    loss = dapo_loss(**(tensors | {"logprobs": whole}), num_tokens=num_tokens).loss
    loss.backward()

    pieces = tensors["logprobs"].clone().requires_grad_()
    split = {
        name: torch.split(value, sizes) for name, value in (tensors | {"logprobs": pieces}).items()
    }
    losses = [
        dapo_loss(**dict(zip(split, parts, strict=True)), num_tokens=num_tokens).loss
        for parts in zip(*split.values(), strict=True)
    ]
    torch.stack(losses).sum().backward()
    torch.testing.assert_close(torch.stack(losses).sum(), loss)
    torch.testing.assert_close(pieces.grad, whole.grad)


@pytest.mark.parametrize("name", ["logprobs", "old_logprobs", "advantages", "importance_weights"])
@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_at_padding_reaches_neither_loss_nor_gradient(
    name: str, padding: float
) -> None:
    tensors = batch()
    clean = tensors["logprobs"].clone().requires_grad_()
    expected = dapo_loss(**(tensors | {"logprobs": clean}), num_tokens=7).loss
    expected.backward()

    tensors[name] = torch.where(tensors["completion_mask"], tensors[name], padding)
    tensors["logprobs"] = tensors["logprobs"].clone().requires_grad_()
    loss = dapo_loss(**tensors, num_tokens=7).loss
    loss.backward()
    assert loss.item() == expected.item()
    assert tensors["logprobs"].grad is not None and clean.grad is not None
    assert torch.equal(tensors["logprobs"].grad, clean.grad)


def test_a_micro_batch_without_tokens_is_zero_and_not_nan() -> None:
    tensors = batch()
    tensors["completion_mask"] = torch.zeros_like(tensors["completion_mask"])
    out = dapo_loss(**tensors, num_tokens=7)
    assert (out.loss.item(), out.clip_fraction.item()) == (0.0, 0.0)


def test_the_clip_fraction_is_a_share_of_the_sampled_tokens_and_not_of_padding() -> None:
    new = torch.log(torch.tensor([[1.5, 1.0, 1.5, 1.5]]))
    mask = torch.tensor([[True, True, False, False]])
    ones = torch.ones(1, 4)
    out = dapo_loss(new, torch.zeros(1, 4), torch.ones(1, 4), ones, mask, num_tokens=2)
    assert out.clip_fraction.item() == 0.5


@pytest.mark.parametrize("num_tokens", [0, -3])
def test_a_batch_without_tokens_is_refused(num_tokens: int) -> None:
    with pytest.raises(ValueError, match="num_tokens must be positive"):
        dapo_loss(**batch(), num_tokens=num_tokens)
