"""The same tensors through TRL's own trainer: advantages, importance weights, loss, punishment.

TRL's trainer is real; only its model passes are replaced, by given log-probabilities.
"""

import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from datasets import Dataset
from made_prompts import asked
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from assay_api import ThinkingMode
from assay_api.policy_loss import KlEstimator, LossType
from assay_trainer.algorithms.advantages import group_advantages
from assay_trainer.algorithms.importance import importance_weights
from assay_trainer.algorithms.kl import token_kl
from assay_trainer.algorithms.losses.policy_loss import BatchSize, Clip, PolicyTokens
from assay_trainer.algorithms.losses.registry import AGGREGATIONS, LOSSES
from assay_trainer.records import Rollout
from assay_trainer.rewards.overlong import OverlongReward

if TYPE_CHECKING:
    from trl import GRPOTrainer

GROUP_SIZE, ROWS, TOKENS = 4, 8, 12
LENGTHS = (12, 3, 7, 1, 5, 12, 2, 9)
REWARDS = (1.0, 0.0, 0.25, 0.0, -1.0, 1.0, 1.0, 0.5)
MASK = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
SIZE = BatchSize(num_tokens=sum(LENGTHS), num_completions=ROWS, max_completion_tokens=16)


class Given:
    """What TRL is given instead of a model's and a sampler's output."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.sampler = torch.randn(ROWS, TOKENS, generator=generator) * 0.5 - 2
        self.old = self.sampler + torch.randn(ROWS, TOKENS, generator=generator)
        self.new = (self.old + 0.3 * torch.randn(ROWS, TOKENS, generator=generator)).double()

    def rollout(self, prompts: list[str], trainer: "GRPOTrainer") -> dict[str, Any]:
        rows = list(zip(self.sampler.tolist(), LENGTHS, strict=True))
        return {
            "prompt_ids": [[1, 2]] * ROWS,
            "completion_ids": [[3] * length for length in LENGTHS],
            "logprobs": [row[:length] for row, length in rows],
        }


@pytest.fixture(scope="module")
def given() -> Given:
    return Given()


@pytest.fixture(scope="module")
def trl() -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
        warnings.filterwarnings("ignore", message="`torch.jit.script_method` is deprecated")
        import trl
        import trl.rewards

        assert trl.GRPOTrainer
    return trl


@pytest.fixture(scope="module")
def trainer(
    trl: ModuleType, given: Given, tmp_path_factory: pytest.TempPathFactory
) -> "GRPOTrainer":
    return make_trainer(trl, given, tmp_path_factory.mktemp("trl"))


def make_trainer(trl: ModuleType, given: Given, folder: Path) -> "GRPOTrainer":
    vocabulary = {word: index for index, word in enumerate(("<pad>", "a", "b", "c"))}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<pad>",
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    args = trl.GRPOConfig(
        output_dir=str(folder),
        loss_type="dapo",
        epsilon=0.2,
        epsilon_high=0.28,
        beta=0.0,
        num_generations=GROUP_SIZE,
        per_device_train_batch_size=ROWS,
        gradient_accumulation_steps=1,
        vllm_importance_sampling_mode="token_truncate",
        vllm_importance_sampling_clip_max=2.0,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    trainer: GRPOTrainer = trl.GRPOTrainer(
        model=Qwen2ForCausalLM(Qwen2Config(vocab_size=4, **sizes, **heads)),
        reward_funcs=lambda completions, **_: list(REWARDS),
        args=args,
        train_dataset=Dataset.from_dict({"prompt": ["a b"] * ROWS}),
        processing_class=tokenizer,
    )
    # As with a vLLM whose weights are in step: only then does TRL weigh by the sampler.
    trainer.use_vllm, trainer._last_loaded_step = True, 0
    trainer.current_gradient_accumulation_steps = 1
    trainer.rollout_func = given.rollout
    trainer.model.train()
    return trainer


def answer_with(trainer: "GRPOTrainer", logprobs: Tensor) -> None:
    entropies = torch.zeros_like(logprobs).detach()
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logprobs, entropies, None)


@pytest.fixture(scope="module")
def scored(trainer: "GRPOTrainer", given: Given) -> dict[str, Tensor]:
    """What TRL makes of the rollouts before its update."""
    answer_with(trainer, given.old)
    output: dict[str, Tensor] = trainer._generate_and_score_completions([{"prompt": "a b"}] * ROWS)
    assert torch.equal(output["completion_mask"].bool(), MASK)
    return output


def test_advantages_differ_only_by_the_small_number_in_the_denominator(
    scored: dict[str, Tensor],
) -> None:
    for start in (0, GROUP_SIZE):
        rewards = REWARDS[start : start + GROUP_SIZE]
        deviation = torch.tensor(rewards, dtype=torch.float64).std().item()
        ours = torch.tensor(group_advantages(rewards, std_floor=1e-3))
        theirs = scored["advantages"][start : start + GROUP_SIZE] * (deviation + 1e-4) / deviation
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_importance_weights_are_the_same(scored: dict[str, Tensor], given: Given) -> None:
    ours = importance_weights(given.old, given.sampler, MASK, cap=2.0)
    theirs = scored["importance_sampling_ratio"]
    torch.testing.assert_close(ours[MASK], theirs[MASK], rtol=1e-6, atol=0)
    assert (ours == 2.0).any() and (ours < 1.0).any()


@pytest.mark.parametrize("updates", ["first", "later"])
def test_loss_and_gradient_are_the_same(
    trainer: "GRPOTrainer", scored: dict[str, Tensor], given: Given, updates: str
) -> None:
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in scored.items()}
    theirs = given.new.clone().requires_grad_()
    if updates == "first":
        del inputs["old_per_token_logps"]
    answer_with(trainer, theirs)
    their_loss = trainer._compute_loss(trainer.model, inputs)
    their_loss.backward()

    ours = given.new.clone().requires_grad_()
    tokens = PolicyTokens(
        ours,
        ours.detach() if updates == "first" else given.old.double(),
        inputs["advantages"][:, None].expand(MASK.shape),
        importance_weights(given.old.double(), given.sampler.double(), MASK, cap=2.0),
        MASK,
    )
    our_loss = LOSSES[LossType.DAPO](tokens, SIZE, Clip(0.2, 0.28)).loss
    our_loss.backward()
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=0)


def test_a_tie_that_is_not_computed_counts_in_the_loss_as_it_does_in_trl(
    trainer: "GRPOTrainer", scored: dict[str, Tensor], given: Given
) -> None:
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in scored.items()}
    inputs["advantages"] = inputs["advantages"].clone()
    inputs["advantages"][GROUP_SIZE:] = 0.0
    answer_with(trainer, given.new.clone().requires_grad_())
    their_loss = trainer._compute_loss(trainer.model, inputs)

    ranked = slice(0, GROUP_SIZE)
    learner, sampler = given.old.double()[ranked], given.sampler.double()[ranked]
    tokens = PolicyTokens(
        given.new[ranked],
        learner,
        inputs["advantages"][ranked, None].expand(MASK[ranked].shape),
        importance_weights(learner, sampler, MASK[ranked], cap=2.0),
        MASK[ranked],
    )
    our_loss = LOSSES[LossType.DAPO](tokens, SIZE, Clip(0.2, 0.28)).loss
    torch.testing.assert_close(our_loss, their_loss.detach(), rtol=1e-6, atol=0)


AS_TRL = {
    LossType.DAPO: {"loss_type": "dapo"},
    LossType.GRPO: {"loss_type": "grpo"},
    LossType.DR_GRPO: {"loss_type": "dr_grpo"},
    LossType.GSPO: {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    LossType.CISPO: {"loss_type": "cispo"},
}


def both_losses(
    trainer: "GRPOTrainer", scored: dict[str, Tensor], given: Given, ours: LossType, theirs: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return loss and gradient of ours and of TRL's; the advantages differ from token to token."""
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in scored.items()}
    inputs["ref_per_token_logps"] = given.sampler.double()
    if ours is not LossType.GSPO:
        turned = torch.arange(MASK.shape[1]) % 3 - 1.0
        inputs["advantages"] = inputs["advantages"][:, None] * turned
    else:
        inputs["advantages"] = inputs["advantages"][:, None].expand(MASK.shape)
        inputs["importance_sampling_ratio"] = torch.ones_like(given.new)
    low, high = (0.01, 0.02) if ours is LossType.GSPO else (0.2, 0.28)
    settings = {
        "epsilon_low": low,
        # What counts as the bound there is its distance from 1 here.
        "epsilon_high": 1 + high if ours is LossType.CISPO else high,
        "beta": 0.05,
        "max_completion_length": SIZE.max_completion_tokens,
        **theirs,
    }
    new, theirs_new = (given.new.clone().requires_grad_() for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(trainer, name, value)
        # Ours is GRPO's own divergence, as in verl; TRL can weigh it by the ratio besides.
        patch.setattr(trainer.args, "use_bias_correction_kl", False)
        answer_with(trainer, theirs_new)
        their_loss = trainer._compute_loss(trainer.model, inputs)
    their_loss.backward()
    weights = importance_weights(given.old.double(), given.sampler.double(), MASK, cap=2.0)
    if ours is LossType.GSPO:
        weights = torch.ones_like(weights)
    tokens = PolicyTokens(new, given.old.double(), inputs["advantages"], weights, MASK)
    clip = Clip(1.0 if ours is LossType.CISPO else low, high)
    kl = token_kl(new, given.sampler.double(), MASK, KlEstimator.K3, clamp=1e3)
    our_loss = LOSSES[ours](tokens, SIZE, clip).loss + 0.05 * AGGREGATIONS[ours](kl, MASK, SIZE)
    our_loss.backward()
    assert new.grad is not None and theirs_new.grad is not None
    return our_loss.detach(), their_loss.detach(), new.grad, theirs_new.grad


@pytest.mark.parametrize("loss", LossType)
def test_each_loss_with_a_divergence_and_its_gradient_are_trls(
    trainer: "GRPOTrainer", scored: dict[str, Tensor], given: Given, loss: LossType
) -> None:
    ours, theirs, gradient, their_gradient = both_losses(trainer, scored, given, loss, AS_TRL[loss])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient[MASK], their_gradient[MASK], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("loss", LossType)
def test_another_loss_of_trl_is_noticed(
    trainer: "GRPOTrainer", scored: dict[str, Tensor], given: Given, loss: LossType
) -> None:
    other = LossType.GRPO if loss is LossType.DAPO else LossType.DAPO
    ours, theirs, *_ = both_losses(trainer, scored, given, loss, AS_TRL[other])
    assert abs(ours - theirs) > 1e-4 * abs(theirs)


@pytest.mark.parametrize(("max_tokens", "buffer_tokens"), [(750, 150), (20, 19), (4096, 256)])
def test_the_overlong_punishment_is_the_same(
    trl: ModuleType, max_tokens: int, buffer_tokens: int
) -> None:
    lengths = range(1, max_tokens + 20)
    punishment = trl.rewards.get_soft_overlong_punishment(max_tokens, buffer_tokens)
    theirs = punishment([[0] * n for n in lengths])
    ours = OverlongReward(max_tokens=max_tokens, buffer_tokens=buffer_tokens)
    prompt = asked("v1", label="fake", mode=ThinkingMode.THINK, text="", question="")
    assert theirs == [
        ours(prompt, Rollout((0,) * n, (0.0,) * n, "", False, policy_version=0)).value
        for n in lengths
    ]
