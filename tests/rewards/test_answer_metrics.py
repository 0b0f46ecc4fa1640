"""How answers are compared with the truth, with values computed by hand."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_prompts import asked, made_row
from pydantic import ValidationError

from assay_api import InvalidInput, ThinkingMode
from assay_api.answers import Answer, FormatName, MetricName
from assay_api.stage import TrainingStageSpec
from assay_trainer.answers.answerable import answerable_rows
from assay_trainer.answers.letter import LetterFormat
from assay_trainer.answers.metrics import math_equal as math_equal_module
from assay_trainer.answers.metrics.exact_match import exact_match
from assay_trainer.answers.metrics.gsm8k import gsm8k, gsm8k_as_released
from assay_trainer.answers.metrics.halueval import halueval
from assay_trainer.answers.metrics.math_equal import math_equal
from assay_trainer.answers.metrics.math_strings import math_as_released
from assay_trainer.answers.metrics.token_f1 import token_f1, token_f1_as_released
from assay_trainer.answers.rule import FORMATS, METRICS, AnswerRule
from assay_trainer.answers.yes_no import YesNoFormat
from assay_trainer.records import PromptItem, Rollout

TEXT = st.text(st.sampled_from("ab the yesno.,$\\{}0123/ "), max_size=20)


@pytest.mark.parametrize(
    ("answer", "truth", "f1", "released"),
    [
        ("University of Wyoming", "the University of Wyoming!", 1.0, 1.0),
        ("Wyoming", "University of Wyoming", 0.5, 0.5),  # P 1, R 1/3
        ("New York New York", "New York", 2 / 3, 2 / 3),  # repeated words count once each
        ("October 26, 2015", "26 October 2015", 1.0, 1.0),
        ("Paris", "London", 0.0, 0.0),
        ("an", "the", 0.0, 0.0),  # nothing is left of either
        ("", "Paris", 0.0, 0.0),
        # yes and no: the whole answer, or by the released rule one of its words
        ("yes", "yes", 1.0, 1.0),
        ("Yes.", "yes", 1.0, 1.0),
        ("no", "yes", 0.0, 0.0),
        ("yes, it is", "yes", 0.0, 1.0),
        ("no", "no way", 0.0, 1.0),
        ("True", "yes", 0.0, 1.0),
        ("False", "no", 0.0, 1.0),
        ("noanswer", "no answer", 0.0, 0.0),
        # punctuation joins words, or by the released rule separates them
        ("U.S.", "US", 1.0, 0.0),
        ("Jean-Luc", "Jean Luc", 0.0, 1.0),
        ("O\u2019Brien", "O'Brien", 0.0, 1.0),
        ("snake_case", "snake case", 0.0, 1.0),
    ],
)
def test_f1_of_words_with_its_rule_for_yes_and_no(
    answer: str, truth: str, f1: float, released: float
) -> None:
    assert token_f1(answer, truth) == pytest.approx(f1)
    assert token_f1_as_released(answer, truth) == pytest.approx(released)


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("The Beatles", "beatles.", 1.0),
        ("a  b", "b", 1.0),  # `a` is an article
        ("beatles band", "beatles", 0.0),
        ("yes, it is", "yes", 0.0),
    ],
)
def test_exact_match_knows_neither_case_nor_articles(answer: str, truth: str, value: float) -> None:
    assert exact_match(answer, truth) == value


@pytest.mark.parametrize(
    ("answer", "truth", "value", "released"),
    [
        ("18", "18", 1.0, 1.0),
        ("$1,018", "1018", 1.0, 1.0),
        ("1018", "1,018", 1.0, 0.0),  # the released rule keeps the truth's comma
        ("18.00", "18", 1.0, 0.0),
        ("-3.", "-3", 1.0, 0.0),
        ("18 dollars", "18", 0.0, 0.0),
        ("17 or 18", "18", 0.0, 0.0),
        ("1e400", "Infinity", 0.0, 0.0),
        ("NaN", "18", 0.0, 0.0),
        ("", "18", 0.0, 0.0),
    ],
)
def test_gsm8k_compares_numbers_and_its_released_rule_letters(
    answer: str, truth: str, value: float, released: float
) -> None:
    assert gsm8k(answer, truth) == value
    assert gsm8k_as_released(answer, truth) == released


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("Kim Marton", "kim marton.", 1.0),
        ("the answer is Paris", "Paris", 1.0),
        ("Parisian", "Paris", 0.0),
        ("Kim Marton, actress", "Kim Marton", 0.0),  # more than one word is not looked for
        ("", "Paris", 0.0),
    ],
)
def test_halueval_takes_the_right_word_among_others(answer: str, truth: str, value: float) -> None:
    assert halueval(answer, truth) == value


@pytest.mark.parametrize(
    ("answer", "truth", "equal", "spelled_alike"),
    [
        (r"\frac{1}{2}", r"\dfrac12", 1.0, 1.0),
        ("1/2", r"\frac{1}{2}", 1.0, 1.0),
        ("0.5", r"\frac{1}{2}", 1.0, 1.0),
        ("0.25", r"\frac{1}{4}", 1.0, 0.0),
        ("x = 5", "5", 1.0, 1.0),
        (r"90^\circ", "90", 1.0, 1.0),
        (r"\{3, 1\}", r"\{1, 3\}", 1.0, 0.0),
        ("(1, 3)", "(3, 1)", 0.0, 0.0),
        (r"2\sqrt3", r"2\sqrt{3}", 1.0, 1.0),
        ("x^2 + 2x + 1", "(x+1)^2", 1.0, 0.0),
        ("4", "5", 0.0, 0.0),
        ("x/2", r"\frac{x}{2}", 1.0, 0.0),  # the released rule gives up: as it is written
        ("\\sqrt", "5", 0.0, 0.0),
        ("204", "204", 1.0, 1.0),
        ("", "5", 0.0, 0.0),
        ("no idea", "5", 0.0, 0.0),
    ],
)
def test_math_is_equal_as_mathematics_and_by_the_released_rule_as_spelled(
    answer: str, truth: str, equal: float, spelled_alike: float
) -> None:
    assert math_equal(answer, truth) == equal
    assert math_as_released(answer, truth) == spelled_alike


def test_what_takes_for_ever_to_compare_is_wrong_and_told_and_the_next_is_compared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A power that fills all memory holds the interpreter: no timeout within it would act."""
    monkeypatch.setattr(math_equal_module, "DEADLINE_SECONDS", 2.0)
    monkeypatch.setattr(math_equal_module, "_PROCESS", math_equal_module._Process())
    math_equal_module._compared.cache_clear()
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(3) as threads:
        answers = ["9^{9^{9^{9}}}", r"\frac{3}{4}", "1"]
        values = list(threads.map(lambda answer: math_equal(answer, "0.75"), answers))
    assert values == [0.0, 1.0, 0.0]
    assert (
        "could not compare the answer '9^{9^{9^{9}}}' with '0.75' (not done after 2" in caplog.text
    )
    math_equal_module._compared.cache_clear()


@given(TEXT, TEXT)
def test_every_metric_of_words_is_a_share_and_full_for_the_truth_itself(
    answer: str, truth: str
) -> None:
    for name, metric in METRICS.items():
        if name is MetricName.MATH:
            continue  # In another process: too slow for hundreds of examples.
        assert 0.0 <= metric(answer, truth) <= 1.0
    for metric in (exact_match, gsm8k, math_as_released):
        assert metric(truth, truth) == 1.0


def completion(answer: str) -> Rollout:
    return Rollout((1,), (-0.1,), f"hm</think> <answer>{answer}</answer>", False, 0)


def question(answer: str) -> PromptItem:
    row = made_row(label="", answer=answer)
    return PromptItem(row, ThinkingMode.THINK, "... <think>", "Who?", opening="<think>")


def test_an_answer_counts_as_correct_from_the_threshold_on() -> None:
    wyoming = question("University of Wyoming")
    for threshold, correct in ((0.5, True), (0.51, False)):
        rule = AnswerRule.of(
            Answer(format=FormatName.TEXT, metric=MetricName.F1, threshold=threshold)
        )
        assert rule.value(wyoming, completion("Wyoming")) == pytest.approx(0.5)
        assert rule.is_correct(wyoming, completion("Wyoming")) is correct


def test_what_the_prompt_holds_of_the_format_belongs_to_the_answer() -> None:
    rule = AnswerRule.of(Answer(format=FormatName.TEXT, metric=MetricName.EXACT_MATCH))
    parsed = rule.parse(question("Paris"), completion("Paris"))
    assert (parsed.verdict, parsed.thinking) == ("Paris", "hm")
    without = asked("v1", "real", text="...")
    assert rule.parse(without, completion("Paris")).verdict is None


def test_a_row_without_a_truth_in_the_format_has_no_right_answer() -> None:
    rule = AnswerRule.of(Answer(format=FormatName.YES_NO))
    assert rule.value(question("Paris"), completion("yes")) == 0.0
    assert rule.value(question("Yes."), completion("yes")) == 1.0


def test_every_format_and_metric_of_the_manifests_is_there() -> None:
    assert set(FORMATS) == set(FormatName) and set(METRICS) == set(MetricName)
    assert all(answer_format.name == name.value for name, answer_format in FORMATS.items())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"format": "Text"}, "metric (Label) doesn't compare answers in the format Text; allowed"),
        ({"metric": "F1"}, "metric (F1) doesn't compare answers in the format Letter; allowed: La"),
        (
            {"format": "Boxed", "metric": "Math", "threshold": 0.9},
            "threshold (0.9) acts only with the metrics F1",
        ),
        ({"format": "Text", "metric": "F1", "threshold": 0}, "greater than 0"),
    ],
)
def test_a_metric_that_does_not_fit_the_format_is_refused(
    answer: dict[str, object], told: str
) -> None:
    with pytest.raises(ValidationError) as error:
        Answer.model_validate(answer)
    assert told in str(error.value)


def test_rows_whose_answers_are_none_in_the_format_are_counted_with_an_example(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [made_row(f"r{i}", label="", answer=word) for i, word in enumerate(("yes", "Paris"))]
    assert answerable_rows(rows, YesNoFormat(), "Train") == (rows[0],)
    assert "1 of 2 rows of Train are left out" in caplog.text
    assert "such as 'Paris' of row r1" in caplog.text
    with pytest.raises(InvalidInput, match=r"spec.answer.format: Letter: no row of Train has an"):
        answerable_rows(rows, LetterFormat(), "Train")


def test_a_stage_that_fuses_modes_writes_letters() -> None:
    stage = {"model": {"uri": "m"}, "dataset": "clips", "fusion": {"steps": 1}}
    TrainingStageSpec.model_validate(stage)
    with pytest.raises(ValidationError, match=r"answer.format \(YesNo\): fusion writes"):
        TrainingStageSpec.model_validate({**stage, "answer": {"format": "YesNo"}})
