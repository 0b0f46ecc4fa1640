"""What rows are asked: the stage's question about a clip, or the row's own, as it stands."""

import logging

import pytest
from made_prompts import made_row

from assay_api import InvalidInput, ThinkingMode
from assay_api.prompt import Prompt
from assay_data.dataset import ClipRow
from assay_data.dataset.rows import Turn
from assay_data.dataset.usable import Lack, lack_of
from assay_trainer.chat import IMAGE, VIDEO, conversation
from assay_trainer.prompts.lengths import measure_prompts, room_for_prompts
from assay_trainer.prompts.own_responses import own_responses
from assay_trainer.prompts.row_media import shown_rows
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import PromptItem, Shown

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK
ASSISTANT = "<|im_start|>assistant\n"
EVIDENCE = "Bebout went to the University of Wyoming."


def text_row(problem: str = "Which university?", **fields: object) -> ClipRow:
    nothing = {"timestamps_seconds": (), "width": 0, "height": 0, "sampled_fps": 0.0}
    given = {"problem": problem, "answer": "Wyoming", "evidence": EVIDENCE}
    return made_row(**{"row_id": "t1", "label": ""} | nothing | given | fields)


def ask(row: ClipRow, mode: ThinkingMode = THINK, **prompt: object) -> PromptItem:
    return RowPrompts(Prompt.model_validate(prompt), conversation).item(row, mode)


def test_the_question_about_a_clip_shows_its_video() -> None:
    item = ask(made_row(), question="Real?")
    assert item.text == f"<|im_start|>user\n{VIDEO}Real? /think<|im_end|>\n{ASSISTANT}"
    assert (item.question, item.shows, item.opening) == ("Real?", Shown.VIDEO, "")


def test_a_rows_own_question_is_asked_with_how_to_answer() -> None:
    item = ask(text_row(), NO_THINK, source="Problem", system="Be brief.", noThink="At once.")
    assert item.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\nWhich university? At once. /no_think<|im_end|>\n{ASSISTANT}"
    )
    assert (item.question, item.shows) == ("Which university?", Shown.NOTHING)


def test_without_flags_the_question_ends_as_it_does() -> None:
    item = ask(text_row(), source="Problem", flags=False)
    assert item.text == f"<|im_start|>user\nWhich university?<|im_end|>\n{ASSISTANT}"


def test_a_conversation_is_asked_turn_by_turn() -> None:
    turns = (Turn("system", "S"), Turn("user", "A"), Turn("assistant", "B"), Turn("user", "C"))
    item = ask(text_row(prompt=turns), source="Messages")
    said = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in turns)
    assert item.text == said + ASSISTANT


def test_a_raw_prompt_is_asked_to_the_letter_and_opens_the_completion() -> None:
    raw = "User: Which?\nAssistant: Let me solve this step by step. <think>"
    item = ask(text_row(prompt=(Turn("user", raw),)), source="Raw")
    assert item.text == raw
    assert item.opening == "<think>"


def test_evidence_never_reaches_the_prompt() -> None:
    for source in ("Problem", "Messages", "Raw"):
        assert EVIDENCE not in ask(text_row(), source=source).text


def test_pictures_are_shown_where_the_text_marks_them() -> None:
    row = made_row(
        "p", "", problem="Left <image> or right <image>?", timestamps_seconds=(0.0, 0.25)
    )
    item = ask(row, source="Problem", flags=False)
    assert f"Left {IMAGE} or right {IMAGE}?" in item.text
    assert item.shows is Shown.PICTURES


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        (text_row(), None),
        (text_row(" "), Lack.TEXT),
        (text_row("What is <image>?"), Lack.PICTURES),
        (text_row(answer=" "), Lack.ANSWER),
        (made_row("p", "", problem="A <image>?", answer="yes"), None),
    ],
)
def test_what_a_row_with_a_question_of_its_own_may_lack(row: ClipRow, lack: Lack | None) -> None:
    assert lack_of(row, needs_label=True, source=Prompt(source="Problem").source) is lack


def test_a_text_model_is_not_asked_about_videos() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.prompt\.source: Question asks about a video"):
        shown_rows([made_row()], Prompt(question="Real?"), {Shown.NOTHING}, "Train")


def test_a_text_model_is_asked_about_text_only(caplog: pytest.LogCaptureFixture) -> None:
    prompt, picture = Prompt(source="Problem"), made_row("p", "", problem="<image>?")
    assert shown_rows([text_row(), picture], prompt, {Shown.NOTHING}, "Train") == (text_row(),)
    assert "1 of 2 rows of Train are left out: they show pictures" in caplog.text
    with pytest.raises(InvalidInput, match="no row of Train can be asked about, of 1: all show"):
        shown_rows([picture], prompt, {Shown.NOTHING}, "Train")


class CharacterTokens:
    """A tokenizer whose tokens are characters."""

    def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


def test_rows_longer_than_the_room_are_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [text_row("x" * length) for length in (5, 9, 6)]
    prompts = RowPrompts(Prompt(source="Raw"), conversation)
    measured = measure_prompts(prompts, rows, [THINK, NO_THINK], CharacterTokens())
    assert measured.lengths == (5, 9, 6)
    with caplog.at_level(logging.WARNING):
        kept = measured.within(6, "Train")
    assert kept.lengths == (5, 6) and kept.longest == 6
    assert "1 of 3 rows of Train are left out: their prompts have more than 6" in caplog.text
    with pytest.raises(
        InvalidInput, match=r"the shortest of 3 prompts has 5 tokens, .* room for 4"
    ):
        measured.within(4, "Train")


def test_pictures_count_as_many_tokens_as_they_take() -> None:
    row = made_row(
        "p", "", problem="<image><image>", timestamps_seconds=(0.0, 0.25), width=84, height=56
    )
    prompts = RowPrompts(Prompt(source="Raw"), conversation)
    measured = measure_prompts(prompts, [row], [THINK], CharacterTokens())
    # Two marks, each of which is one token in a real tokenizer, and 3 x 2 tokens in its place.
    assert measured.longest == 2 * len(IMAGE) + 2 * (3 * 2 - 1)


class Context:
    max_position_embeddings = 100

    def get_text_config(self) -> "Context":
        return self


def test_the_room_is_the_models_context_less_the_completion_or_what_the_stage_says() -> None:
    assert room_for_prompts(Prompt(source="Raw"), Context(), 40) == 60
    assert room_for_prompts(Prompt(source="Raw", max_tokens=50), Context(), 40) == 50
    with pytest.raises(InvalidInput, match=r"maxTokens: 61, .* 40: the model's context is 100"):
        room_for_prompts(Prompt(source="Raw", max_tokens=61), Context(), 40)


def test_a_rows_own_response_is_learned_after_its_own_prompt() -> None:
    raw = "Which? <think>"
    rows = [
        text_row(prompt=(Turn("user", raw),), response="<think>Easy.</think>Wyoming"),
        text_row("Long?" * 30, response="Yes.", row_id="t2"),
        text_row("No response?", row_id="t3"),
    ]
    prompts = RowPrompts(Prompt(source="Raw"), conversation)
    found = own_responses(prompts, rows, end="<e>", tokenizer=CharacterTokens(), context=60)
    assert [(one.prompt.text, one.completion) for one in found] == [
        (raw, "Easy.</think>Wyoming<e>"),
    ]


def test_a_response_with_tokens_of_control_is_refused() -> None:
    prompts = RowPrompts(Prompt(source="Raw"), conversation)
    rows = [text_row(response="Yes.<|im_end|>")]
    with pytest.raises(InvalidInput, match=r"response of row t1 holds tokens of control \(<\|im"):
        own_responses(prompts, rows, end="<e>", tokenizer=CharacterTokens(), context=60)
    with pytest.raises(InvalidInput, match="no row of Train has one"):
        own_responses(prompts, [text_row()], end="", tokenizer=CharacterTokens(), context=60)
