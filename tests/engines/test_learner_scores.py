"""Scores of prompts that the encoder makes of real frames."""

import pytest
import torch

from assay_trainer.families.batch import Completion, collate
from assay_trainer.learner.forward import RowScorer
from assay_trainer.records import Shown


@pytest.fixture
def parts(make_parts):
    return make_parts()


def score(parts, rows):
    policy = parts.policy
    scorer = RowScorer(policy.model, policy.family, banned_ids=(), temperature=1.0)
    return scorer(collate(rows, pad_id=0))


def chosen(table: torch.Tensor, row: Completion) -> torch.Tensor:
    return table.gather(-1, torch.tensor(row.token_ids)[:, None])[:, 0]


def test_images_are_scored_as_a_plain_forward_does(parts) -> None:
    text = "<|im_start|>user\n" + "<|image_pad|>" * 2 + "Which?<|im_end|>\n"
    row_id = parts.dataset.rows()[0].row_id
    prompt = parts.encode(text, row_id, Shown.PICTURES, max_pictures=2)
    row = Completion(prompt, (5, 6, 7))

    out = score(parts, [row])

    ids = prompt.token_ids + row.token_ids
    after = (prompt.next_position + torch.arange(len(row.token_ids))).expand(3, -1)
    positions = torch.cat([prompt.positions, after], dim=1)
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
    row_id = parts.dataset.rows()[0].row_id

    with pytest.raises(ValueError, match=r"has 0 marks <\|video_pad\|>, but there are 1 videos"):
        parts.encode("no video", row_id)
