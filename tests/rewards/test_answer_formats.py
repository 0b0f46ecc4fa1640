"""What the answer formats besides the letter read, strictly and loosely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_prompts import made_row

from assay_trainer.answers.boxed import BoxedFormat, last_box
from assay_trainer.answers.free_text import TextFormat
from assay_trainer.answers.letter import LetterFormat
from assay_trainer.answers.parsed import AnswerFormat
from assay_trainer.answers.yes_no import YesNoFormat

THOUGHT = "<think>Not now, I know.</think>"


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        (f"{THOUGHT}<answer>yes</answer>", "yes", "yes"),
        (f"{THOUGHT}\n<answer> No.\n</answer>", "no", "no"),
        (f"{THOUGHT}<answer>Yes, it is</answer>", None, "yes"),
        (f"{THOUGHT}<answer>nothing</answer>", None, None),
        (f"{THOUGHT}<answer></answer>", None, None),
        ("<answer>no</answer>", None, "no"),
        (f"{THOUGHT} no", None, None),
        (f"{THOUGHT}<answer>yes</answer> Done.", None, "yes"),
        (f"{THOUGHT}<|im_start|><answer>yes</answer>", None, None),
    ],
)
def test_yes_and_no_are_read_between_answer_tags_only(
    text: str, strict: str | None, loose: str | None
) -> None:
    parsed = YesNoFormat().parse(text)
    assert (parsed.verdict, parsed.loose_verdict) == (strict, loose)


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        (f"{THOUGHT} <answer> Kim Marton </answer>", "Kim Marton", "Kim Marton"),
        (f"{THOUGHT}<answer>\n</answer>", None, None),
        (f"{THOUGHT}<answer>a</answer><answer>b</answer>", None, "b"),
        ("Kim <answer>Marton</answer>", None, "Marton"),
        ("<think>never closed <answer>x</answer>", None, "x"),
        ("no tags", None, None),
        (f"{THOUGHT}<answer>x<|endoftext|></answer>", None, None),
    ],
)
def test_free_text_is_whatever_the_answer_tags_hold(
    text: str, strict: str | None, loose: str | None
) -> None:
    parsed = TextFormat().parse(text)
    assert (parsed.verdict, parsed.loose_verdict) == (strict, loose)


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        (rf"{THOUGHT} So \boxed{{\frac{{1}}{{2}}}}.", r"\frac{1}{2}", r"\frac{1}{2}"),
        (rf"{THOUGHT} \boxed{{1}} or \boxed{{2}}", "2", "2"),
        (r"<think>\boxed{1}</think> done", None, None),
        (r"<think>\boxed{1}</think> \boxed{2}", "2", "2"),
        (r"It is \boxed{4}.", None, "4"),
        (rf"{THOUGHT} \boxed{{4", None, None),
        (rf"{THOUGHT} \boxed{{ }}", None, None),
        (rf"{THOUGHT}{THOUGHT} \boxed{{4}}", None, "4"),
        (rf"{THOUGHT} \boxed{{\{{1, 2\}}}}", r"\{1, 2\}", r"\{1, 2\}"),
        (rf"{THOUGHT} \boxed{{4}}<|im_end|>", None, None),
    ],
)
def test_a_box_counts_after_the_think_block_only(
    text: str, strict: str | None, loose: str | None
) -> None:
    parsed = BoxedFormat().parse(text)
    assert (parsed.verdict, parsed.loose_verdict) == (strict, loose)


@pytest.mark.parametrize(
    ("answer_format", "answer", "label", "truth"),
    [
        (LetterFormat(), "", "fake", "fake"),
        (LetterFormat(), "A", "", "real"),
        (LetterFormat(), "Paris", "", None),
        (YesNoFormat(), "Yes\nthe mayor", "fake", "yes"),
        (YesNoFormat(), "<answer> No.</answer>", "real", "no"),
        (YesNoFormat(), "Norway", "", None),
        (TextFormat(), " Paris ", "", "Paris"),
        (TextFormat(), " ", "", None),
        (BoxedFormat(), r"so \boxed{7}", "", "7"),
        (BoxedFormat(), "7", "", "7"),
    ],
)
def test_the_truth_is_read_in_the_spelling_of_the_format(
    answer_format: AnswerFormat, answer: str, label: str, truth: str | None
) -> None:
    assert answer_format.truth(made_row(label=label, answer=answer)) == truth


balanced = st.recursive(
    st.text(st.characters(exclude_characters="{}\\<>"), max_size=5),
    lambda inner: inner.map(lambda text: "{" + text + "}"),
    max_leaves=4,
)


@given(balanced, st.text(max_size=10))
def test_what_is_boxed_comes_out_whatever_its_braces(content: str, before: str) -> None:
    expected = content.strip() or last_box(before)
    assert last_box(f"{before} \\boxed{{{content}}} {{") == expected or "\\boxed" in before
