"""Scores of a micro-batch against a plain forward of each row alone, with made-up prompts."""

from pathlib import Path

import pytest
import torch
from plain_update import PlainPrompt, PlainRow, logprobs_and_entropy
from transformers import Qwen2_5_VLForConditionalGeneration

from assay_api import ScratchModel
from assay_trainer.families.batch import Completion, collate
from assay_trainer.families.inputs import EncodedPrompt, Visual
from assay_trainer.families.mrope import VisualSpan, mrope_positions
from assay_trainer.learner import forward
from assay_trainer.learner.forward import RowScorer
from assay_trainer.learner.learner import CompletionLogprobs
from assay_trainer.models.policy import Policy, load_policy
from assay_trainer.models.scratch import make_scratch_model

SIZES = {"hiddenSize": 32, "numLayers": 2, "numHeads": 2, "numKvHeads": 1}
SIZES |= {"visionHiddenSize": 32, "visionDepth": 2}
GRIDS = {"video": ((5, 4, 4), (3, 4, 8), (2, 4, 4)), "image": ((1, 4, 4), (1, 4, 8), (1, 8, 4))}
"""Slices, rows and columns of patches of three prompts' media."""
SECONDS_PER_SLICE = 1.3
TOKENS_PER_SECOND = 2.0
LENGTHS = (5, 1, 9, 7, 9, 3)
SAMPLED = {"temperature": 0.7, "banned": (3, 99, 250)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    make_scratch_model(ScratchModel.model_validate(SIZES), ["Real or fake?"], folder)
    return folder


@pytest.fixture(params=["Float32", "BFloat16"])
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


def loaded(folder: Path, precision: str = "Float32", *, frozen: bool = True) -> Policy:
    return load_policy(folder, precision=precision, lora=None, freeze_vision_tower=frozen)


def plain_model(folder: Path, precision: str = "Float32") -> Qwen2_5_VLForConditionalGeneration:
    dtype = {"Float32": torch.float32, "BFloat16": torch.bfloat16}[precision]
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype)


def plain_rows(model: Qwen2_5_VLForConditionalGeneration, kind: str) -> list[PlainRow]:
    """Return six rows, two of each prompt."""
    draw = torch.Generator().manual_seed(len(kind))
    mark = model.config.video_token_id if kind == "video" else model.config.image_token_id
    prompts = []
    for number, grid in enumerate(GRIDS[kind]):
        before, after = (
            torch.randint(240, (3 + number,), generator=draw).tolist() for _ in range(2)
        )
        marks = [mark] * (grid[0] * grid[1] * grid[2] // 4)
        pixels = torch.randn(grid[0] * grid[1] * grid[2], 3 * 2 * 14 * 14, generator=draw)
        seconds = SECONDS_PER_SLICE if kind == "video" else 0.0
        prompts.append(PlainPrompt((*before, *marks, *after), mark, pixels, grid, seconds, kind))
    return [
        PlainRow(prompts[place // 2], tuple(torch.randint(250, (length,), generator=draw).tolist()))
        for place, length in enumerate(LENGTHS)
    ]


def completions(rows: list[PlainRow]) -> list[Completion]:
    encoded = {}
    for row in rows:
        prompt = row.prompt
        if id(prompt) not in encoded:
            merged = (prompt.grid[0], prompt.grid[1] // 2, prompt.grid[2] // 2)
            start = prompt.token_ids.index(prompt.mark)
            span = VisualSpan(start, merged, prompt.seconds_per_slice)
            encoded[id(prompt)] = EncodedPrompt(
                prompt.token_ids,
                mrope_positions(len(prompt.token_ids), [span], TOKENS_PER_SECOND),
                Visual(prompt.kind, prompt.pixel_values, torch.tensor([prompt.grid])),
            )
    return [Completion(encoded[id(row.prompt)], row.token_ids) for row in rows]


def score(
    policy: Policy, rows: list[PlainRow], *, pad_id: int = 0, **sampled
) -> CompletionLogprobs:
    sampled = SAMPLED | sampled
    scorer = RowScorer(
        policy.model,
        policy.family,
        banned_ids=sampled["banned"],
        temperature=sampled["temperature"],
    )
    return scorer(collate(completions(rows), pad_id=pad_id))


@pytest.mark.parametrize("kind", ["video", "image"])
def test_scores_are_those_of_each_row_alone(folder: Path, kind: str, precision: str) -> None:
    """In BFloat16 the states are rounded to 2^-8 in each layer, by other kernels for a batch."""
    plain = plain_model(folder, precision)
    rows = plain_rows(plain, kind)
    atol = 1e-5 if precision == "Float32" else 2e-2

    out = score(loaded(folder, precision), rows)

    for index, row in enumerate(rows):
        logprobs, entropy = logprobs_and_entropy(plain, row, **SAMPLED)
        length = len(row.token_ids)
        torch.testing.assert_close(out.logprobs[index, :length], logprobs, atol=atol, rtol=0)
        torch.testing.assert_close(out.entropy[index, :length], entropy, atol=atol, rtol=0)
        assert out.logprobs[index, length:].tolist() == [0.0] * (9 - length)
        assert out.entropy[index, length:].tolist() == [0.0] * (9 - length)


def test_a_banned_token_has_no_probability(folder: Path) -> None:
    policy = loaded(folder)
    row = plain_rows(policy.model, "video")[0]
    banned = PlainRow(row.prompt, SAMPLED["banned"])

    assert score(policy, [banned], temperature=1.0).logprobs.max() < -80
    assert score(policy, [banned], temperature=1.0, banned=()).logprobs.min() > -20


@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_are_those_of_each_row_alone(folder: Path, frozen: bool) -> None:
    plain = plain_model(folder)
    plain.model.visual.requires_grad_(not frozen)
    rows = plain_rows(plain, "video")
    worth = [torch.linspace(-1, 2, length) for length in LENGTHS]
    policy = loaded(folder, frozen=frozen)

    out = score(policy, rows)
    assert not out.entropy.requires_grad
    sum((out.logprobs[index, : len(one)] * one).sum() for index, one in enumerate(worth)).backward()
    for row, one in zip(rows, worth, strict=True):
        (logprobs_and_entropy(plain, row, **SAMPLED)[0] * one).sum().backward()

    expected = {
        name: weight.grad for name, weight in plain.named_parameters() if weight.grad is not None
    }
    found = {
        name: weight.grad
        for name, weight in policy.model.named_parameters()
        if weight.grad is not None
    }
    assert set(found) == set(expected)
    assert any("visual" in name for name in found) is not frozen
    error = sum((found[name] - expected[name]).square().sum() for name in found).sqrt()
    assert error < 1e-5 * sum(one.square().sum() for one in expected.values()).sqrt()


def test_the_padding_token_does_not_matter(folder: Path) -> None:
    policy = loaded(folder)
    rows = plain_rows(policy.model, "video")

    assert torch.equal(score(policy, rows).logprobs, score(policy, rows, pad_id=77).logprobs)


@pytest.mark.parametrize("size", [1, 7])
def test_chunks_of_logits_change_neither_scores_nor_gradients(
    folder: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = loaded(folder)
    rows = plain_rows(policy.model, "video")
    weight = policy.model.model.language_model.layers[0].self_attn.q_proj.weight

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        out = score(policy, rows)
        (gradient,) = torch.autograd.grad(out.logprobs.sum(), weight)
        return out.logprobs.detach(), gradient

    whole = run()
    monkeypatch.setattr(forward, "_CHUNK_TOKENS", size)
    chunked = run()

    torch.testing.assert_close(chunked[0], whole[0], atol=1e-5, rtol=0)
    assert (chunked[1] - whole[1]).norm() < 1e-5 * whole[1].norm()


def test_the_vision_tower_sees_a_clip_once_for_all_its_rows(folder: Path) -> None:
    policy = loaded(folder)
    seen: list[int] = []
    embed = policy.model.model.visual.patch_embed
    embed.register_forward_hook(lambda module, args, out: seen.append(len(out)))

    score(policy, plain_rows(policy.model, "video"))

    assert sum(seen) == sum(slices * rows * columns for slices, rows, columns in GRIDS["video"])
