import pytest
import torch

from assay_trainer.learner import forward
from assay_trainer.learner.batch import Completion, collate
from assay_trainer.learner.forward import RowScorer
from assay_trainer.models.inputs import visual_token_ids
from assay_trainer.models.positions import mrope_positions

LENGTHS = (5, 1, 12, 7, 12, 3)


@pytest.fixture
def parts(make_parts):
    return make_parts()


@pytest.fixture
def rows(parts, draw_completions) -> list[Completion]:
    """Six completions, two a clip, on clips of different length."""
    return draw_completions(parts, LENGTHS, per_clip=2)


def score(parts, rows, *, temperature: float = 1.0, banned: tuple[int, ...] = ()):
    scorer = RowScorer(parts.policy.model, banned_ids=banned, temperature=temperature)
    return scorer(collate(rows, pad_id=0, tokens_per_second=parts.policy.tokens_per_second))


def plain_logits(parts, row: Completion) -> torch.Tensor:
    """Run the model of transformers on one row; return the logits of its completion's places."""
    ids = row.prompt.token_ids + row.token_ids
    positions = mrope_positions(len(ids), row.prompt.spans, parts.policy.tokens_per_second)
    visual = row.prompt.visual
    logits = parts.policy.model(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        position_ids=positions[:, None],
        pixel_values_videos=visual.pixel_values,
        video_grid_thw=visual.grid_thw,
    ).logits[0]
    return logits[len(row.prompt.token_ids) - 1 : -1]


def chosen(table: torch.Tensor, row: Completion) -> torch.Tensor:
    return table.gather(-1, torch.tensor(row.token_ids)[:, None])[:, 0]


def test_log_probabilities_and_entropy_are_those_of_a_plain_forward(parts, rows) -> None:
    out = score(parts, rows)

    for index, row in enumerate(rows):
        table = plain_logits(parts, row).log_softmax(-1)
        length = len(row.token_ids)
        torch.testing.assert_close(
            out.logprobs[index, :length], chosen(table, row), atol=1e-5, rtol=0
        )
        entropy = -(table.exp() * table).sum(-1)
        torch.testing.assert_close(out.entropy[index, :length], entropy, atol=1e-5, rtol=0)
        assert out.logprobs[index, length:].tolist() == [0.0] * (12 - length)


def test_temperature_and_banned_ids_count_as_in_the_sampler(parts, rows) -> None:
    banned = visual_token_ids(parts.policy.processor)
    out = score(parts, rows[:1], temperature=0.5, banned=banned)

    logits = plain_logits(parts, rows[0])
    logits[:, list(banned)] -= 100.0
    expected = chosen((logits / 0.5).log_softmax(-1), rows[0])
    torch.testing.assert_close(out.logprobs[0], expected, atol=1e-5, rtol=0)
    assert (logits / 0.5).softmax(-1)[:, list(banned)].max() < 1e-30


def test_a_row_scores_the_same_alone_and_among_neighbours(parts, rows) -> None:
    together = score(parts, rows)

    for index, row in enumerate(rows):
        alone = score(parts, [row])
        length = len(row.token_ids)
        for name in ("logprobs", "entropy"):
            left, right = getattr(together, name)[index, :length], getattr(alone, name)[0]
            torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


def test_the_padding_token_does_not_matter(parts, rows) -> None:
    scorer = RowScorer(parts.policy.model, banned_ids=(), temperature=1.0)
    speed = parts.policy.tokens_per_second

    scores = [
        scorer(collate(rows, pad_id=pad, tokens_per_second=speed)).logprobs for pad in (0, 77)
    ]

    torch.testing.assert_close(scores[0], scores[1], atol=0, rtol=0)


@pytest.mark.parametrize("size", [1, 7])
def test_chunks_of_logits_change_neither_scores_nor_gradients(
    parts, rows, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = parts.policy.base.model.language_model.layers[0].self_attn.q_proj.weight

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        out = score(parts, rows)
        (gradient,) = torch.autograd.grad(out.logprobs.sum(), weight)
        return out.logprobs.detach(), gradient

    whole = run()
    monkeypatch.setattr(forward, "_CHUNK_TOKENS", size)
    chunked = run()

    torch.testing.assert_close(chunked[0], whole[0], atol=1e-5, rtol=0)
    error = (chunked[1] - whole[1]).norm() / whole[1].norm()
    assert error < 1e-5


def test_the_vision_tower_sees_a_clip_once_for_all_its_rows(parts, rows) -> None:
    embedded = []
    embed = parts.policy.base.model.visual.patch_embed
    embed.register_forward_hook(lambda module, args, out: embedded.append(len(out)))

    score(parts, rows)

    assert sum(embedded) == 3 * 8 * 4 * 4, "patches of three clips of 8 slices of 4 x 4"


def test_images_are_scored_as_a_plain_forward_does(parts) -> None:
    text = "<|im_start|>user\n" + "<|image_pad|>" * 2 + "Which?<|im_end|>\n"
    clip = parts.clip(parts.dataset.rows()[0].row_id)
    prompt = parts.encoder.encode(text, clip, frames_as_images=2)
    row = Completion(prompt, (5, 6, 7))

    out = score(parts, [row])

    ids = prompt.token_ids + row.token_ids
    positions = mrope_positions(len(ids), prompt.spans, parts.policy.tokens_per_second)
    logits = parts.policy.model(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        position_ids=positions[:, None],
        pixel_values=prompt.visual.pixel_values,
        image_grid_thw=prompt.visual.grid_thw,
    ).logits[0, len(prompt.token_ids) - 1 : -1]
    expected = chosen(logits.log_softmax(-1), row)
    torch.testing.assert_close(out.logprobs[0], expected, atol=1e-5, rtol=0)


def test_a_prompt_must_have_a_mark_for_each_visual(parts) -> None:
    clip = parts.clip(parts.dataset.rows()[0].row_id)

    with pytest.raises(ValueError, match=r"has 0 marks <\|video_pad\|>, but there are 1 videos"):
        parts.encoder.encode("no video", clip)
