from pathlib import Path

import pytest
import torch
from deepspeed.utils import safe_get_full_optimizer_state
from torch import nn

from assay_trainer.learner.forward import RowScorer
from assay_trainer.models.policy import load_policy

LENGTHS = (5, 1, 12, 7, 12, 3, 9, 4)
NUM_TOKENS = sum(LENGTHS)


def negative_log_likelihood(out) -> torch.Tensor:
    return -out.logprobs.sum() / NUM_TOKENS


def step(parts, rows):
    return parts.learner.update(
        [(batch, negative_log_likelihood) for batch in parts.micro_batches(rows)]
    )


def first_moments(model: nn.Module) -> torch.Tensor:
    """Return AdamW's first moments of all trained weights: after one step, scaled gradients."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.cat([safe_get_full_optimizer_state(w, "exp_avg").flatten() for w in trained])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_micro_batches_of_any_size_give_the_same_gradient(make_parts, draw_completions) -> None:
    moments, norms = [], []
    for size in (8, 3, 1):
        parts = make_parts(placement={"microBatch": size})
        norms.append(step(parts, draw_completions(parts, LENGTHS)).grad_norm)
        moments.append(first_moments(parts.policy.model))

    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-5)
    assert relative_error(moments[1], moments[0]) < 1e-5
    assert relative_error(moments[2], moments[0]) < 1e-5


def load_scorer(folder: Path) -> RowScorer:
    policy = load_policy(folder, precision="Float32", lora=None, freeze_vision_tower=True)
    return RowScorer(policy.model, policy.family, banned_ids=policy.banned_ids(), temperature=1.0)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_vision_tower_moves_only_where_it_is_trained(
    make_parts, draw_completions, frozen: bool
) -> None:
    parts = make_parts(freezeVisionTower=frozen)
    visual = parts.policy.base.model.visual
    before = {name: tensor.clone() for name, tensor in visual.state_dict().items()}

    step(parts, draw_completions(parts, LENGTHS))

    same = [torch.equal(before[name], now) for name, now in visual.state_dict().items()]
    assert all(same) is frozen


def test_only_adapters_are_trained_and_merging_them_changes_nothing(
    make_parts, draw_completions, rl, tmp_path: Path
) -> None:
    lora = {"rank": 8, "alpha": 8, "targets": ["q_proj", "v_proj", "down_proj"]}
    parts = make_parts(**rl(optimizer={"learningRate": 0.02}), lora=lora)
    rows = draw_completions(parts, LENGTHS)
    before = {name: t.clone() for name, t in parts.policy.model.state_dict().items()}
    (batch,) = parts.micro_batches(rows[:4])
    untrained = parts.learner.score(batch).logprobs

    for _ in range(2):
        step(parts, rows)

    after = parts.policy.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("lora_" in name for name in changed)
    assert not any("visual" in name for name in changed)
    assert all("lora_" in name for name in parts.policy.exported_weights())
    with_adapters = parts.learner.score(batch).logprobs
    assert (with_adapters - untrained).abs().max() > 1e-2

    parts.policy.save(tmp_path / "merged")

    merged = load_policy(
        tmp_path / "merged", precision="Float32", lora=None, freeze_vision_tower=True
    )
    merged = load_scorer(tmp_path / "merged")(batch).logprobs
    torch.testing.assert_close(merged, with_adapters, atol=1e-5, rtol=0)
    again = parts.learner.score(batch).logprobs
    torch.testing.assert_close(again, with_adapters, atol=1e-5, rtol=0)
