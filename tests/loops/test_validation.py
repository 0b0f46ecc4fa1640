"""What validation says of held-out answers, before training as well: how many are well-formed."""

import logging
from collections.abc import Sequence

import pytest
from made_prompts import asked, made_row
from played_engines import PlayedPool, said

from assay_api import ThinkingMode
from assay_api.answers import Answer
from assay_api.prompt import BUSTERX_PROMPT, Prompt
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.chat import detection_prompt
from assay_trainer.loops.validation import Validator
from assay_trainer.records import PromptItem

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK
LETTER = Answer()
REAL, FAKE = "<think>hm</think><answer>A</answer>", "<think>hm</think><answer>B</answer>"


def item(mode: ThinkingMode, prompt: Prompt = BUSTERX_PROMPT) -> PromptItem:
    text, question = detection_prompt(prompt, mode)
    return asked("v", "real", mode, text, question)


def validate(
    prompts: Sequence[PromptItem], answers: Sequence[str], answer: Answer = LETTER
) -> dict[str, float]:
    left = iter(answers)
    pool = PlayedPool(lambda request, plan: [said(next(left))])
    validator = Validator(
        pool, prompts, {}, lambda row_id: pytest.fail(), AnswerRule.of(answer), max_tokens=8
    )
    return validator.validate()


def test_well_formed_answers_are_counted_by_mode_right_or_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts = [item(THINK)] * 4 + [item(NO_THINK)] * 2
    answers = [REAL, FAKE, "A", "It is real.", "<think></think><answer>A</answer>", REAL]
    metrics = validate(prompts, answers)
    assert metrics == {
        "accuracy/held_out_think": 0.25,
        "well_formed/held_out_think": 0.5,
        "mode/obeyed_think": 0.5,
        "accuracy/held_out_no_think": 1.0,
        "well_formed/held_out_no_think": 1.0,
        "mode/obeyed_no_think": 0.5,
    }
    assert caplog.records == [], "a half is enough"


def test_few_well_formed_answers_are_warned_of_with_two_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = validate([item(THINK)] * 4 + [item(NO_THINK)], ["A", "A", "It is\nreal.", REAL, REAL])
    assert metrics["well_formed/held_out_think"] == 0.25
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    head, *shown, advice = record.getMessage().splitlines()
    assert head == (
        "only 25% of 4 held-out answers in the mode Think keep to the answer format (expected: 50% "
        "or more). Two of them:"
    )
    assert shown == ['  "A"', '  "It is\\nreal."']
    assert advice.startswith("What to do: the prompt names the tags, but the model does not write")


def test_a_prompt_that_names_no_tags_is_what_the_warning_blames(
    caplog: pytest.LogCaptureFixture,
) -> None:
    validate([item(THINK, Prompt(question="A or B?"))], ["A"])
    assert "the prompt does not name <think>, </think>, <answer>, </answer>: ask" in caplog.text


def test_answers_in_other_words_have_a_mean_value_beside_their_accuracy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = made_row(label="", answer="University of Wyoming")
    text = "Reason in <think></think>, answer in <answer></answer>. <think>"
    prompt = PromptItem(row, THINK, text, "Which?", opening="<think>")
    answers = [
        "hm</think><answer>Wyoming</answer>",
        "hm</think><answer>wyoming university</answer>",
    ]
    f1 = Answer.model_validate({"format": "Text", "metric": "F1", "threshold": 0.6})
    metrics = validate([prompt] * 2, answers, f1)
    assert metrics["answer_value/held_out_think"] == pytest.approx((0.5 + 0.8) / 2)
    assert metrics["accuracy/held_out_think"] == 0.5
    assert metrics["well_formed/held_out_think"] == 1.0 and caplog.records == []


def test_the_form_that_is_advised_is_the_stages(caplog: pytest.LogCaptureFixture) -> None:
    prompt = PromptItem(made_row(label="", answer="4"), THINK, "2 + 2?", "2 + 2?")
    boxed = Answer.model_validate({"format": "Boxed", "metric": "Math"})
    validate([prompt], ["4"], boxed)
    (record,) = caplog.records
    assert r"does not name <think>, </think>, \boxed: ask for the form" in record.getMessage()
    assert r"</think> ... \boxed{ANSWER}" in record.getMessage()
