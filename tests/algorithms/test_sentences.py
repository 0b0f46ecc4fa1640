"""Sentences of reasoning, their tokens, and what verdicts on them do to advantages."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api.factuality import StepRule
from assay_trainer.algorithms.sentence_tokens import token_sentences
from assay_trainer.algorithms.sentences import Sentence, reasoning_sentences
from assay_trainer.algorithms.step_advantages import num_flipped, step_advantages, verdict_of

FLIP = StepRule.FLIP


def split(thinking: str) -> list[str]:
    text = f"<think>{thinking}</think><answer>x</answer>"
    return [text[one.start : one.end] for one in reasoning_sentences(text)]


@pytest.mark.parametrize(
    ("thinking", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("  One.  \n\n Two. ", ["One.", "Two."]),
        ("Dr. Smith paid $3.14 to U.S. officials.", ["Dr. Smith paid $3.14 to U.S. officials."]),
        ("It was, e.g. Monday, at 5 p.m. in Rome.", ["It was, e.g. Monday, at 5 p.m. in Rome."]),
        ("Steps: 1. Look. 2. Think.", ["Steps:", "1. Look.", "2. Think."]),
        ("1. First, he left.\n2. Then he ate.", ["1. First, he left.", "2. Then he ate."]),
        ("- one thing.\n- another.", ["- one thing.", "- another."]),
        ("他住在北京。她不在。", ["他住在北京。", "她不在。"]),
        ("He said 他住在北京。Then he left.", ["He said 他住在北京。", "Then he left."]),
        ("No end", ["No end"]),
        ("One. ...", ["One."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_a_think_block_is_cut_into_sentences(thinking: str, sentences: list[str]) -> None:
    assert split(thinking) == sentences


def test_only_the_last_closed_block_counts() -> None:
    text = "<think>Old.</think> <think>New. One.</think><answer>Not this.</answer>"
    assert [text[one.start : one.end] for one in reasoning_sentences(text)] == ["New.", "One."]


@pytest.mark.parametrize("text", ["Just words.", "<think>Never closed. So.", "</think>Odd.<think>"])
def test_without_a_closed_block_there_is_no_sentence(text: str) -> None:
    assert reasoning_sentences(text) == ()


def test_a_sentence_of_two_thousand_words_is_one() -> None:
    assert len(split("so " * 2000 + "it is.")) == 1


@settings(deadline=None)
@given(st.text())
def test_sentences_are_in_order_and_hold_all_that_is_a_word(thinking: str) -> None:
    text = f"<think>{thinking}</think>"
    found = reasoning_sentences(text)
    if "<think>" in thinking or "</think>" in thinking:
        return
    places = [place for one in found for place in range(one.start, one.end)]
    assert places == sorted(set(places))
    assert all(not text[one.start].isspace() and not text[one.end - 1].isspace() for one in found)
    words = {7 + place for place, character in enumerate(thinking) if character.isalnum()}
    lone = {place for place in words if place not in places}
    assert len(lone) <= 4, "only the mark of a list with nothing after it may be left out"


def test_a_token_belongs_to_the_sentence_of_its_first_character_in_one() -> None:
    text = "A b. C."
    sentences = (Sentence(0, 4), Sentence(5, 7))
    cases = {
        (b"A", b" ", b"b", b". ", b"C", b"."): (0, 0, 0, 0, 1, 1),
        (b"A b", b". C", b"."): (0, 0, 1),
        (b"A b.", b" ", b"C."): (0, None, 1),
        (b"A b.", b"", b" C", b"."): (0, None, 1, 1),
    }
    for tokens, expected in cases.items():
        assert token_sentences(text, tokens, sentences) == expected


def test_half_a_character_belongs_where_the_character_does() -> None:
    text = "漢。字。"
    data = text.encode()
    tokens = tuple(data[place : place + 2] for place in range(0, len(data), 2))
    # Bytes 0-2 are the first character, 3-5 the second, ...: the third token ends the first.
    found = token_sentences(text, tokens, (Sentence(0, 2), Sentence(2, 4)))
    assert found == (0, 0, 0, 1, 1, 1)


def test_what_is_no_character_is_counted_as_it_is_shown() -> None:
    tokens = (b"a.", b"\xe6\xbc", b" b", b".")
    text = "a.\ufffd b."
    assert token_sentences(text, tokens, (Sentence(0, 2), Sentence(4, 6))) == (0, None, 1, 1)


def test_the_opening_shifts_all_places() -> None:
    text = "<think>Hi. Yo.</think>"
    sentences = reasoning_sentences(text)
    tokens = (b"Hi", b".", b" Yo", b".", b"</think>")
    assert token_sentences(text, tokens, sentences, opening=7) == (0, 0, 1, 1, None)


def test_tokens_of_another_text_are_refused() -> None:
    with pytest.raises(ValueError, match="the tokens spell 'Ho', and the text has 'Hi'"):
        token_sentences("Hi", (b"Ho",), (Sentence(0, 2),))


BY_HAND = {
    (2.0, FLIP): (2.0, 2.0, -2.0, 2.0),
    (-2.0, FLIP): (2.0, -2.0, -2.0, -2.0),
    (2.0, StepRule.AS_RELEASED): (2.0, 2.0, -2.0, 2.0),
    (-2.0, StepRule.AS_RELEASED): (2.0, -2.0, -2.0, 2.0),
    (2.0, StepRule.MASK_ONLY): (2.0, 2.0, 0.0, 2.0),
    (-2.0, StepRule.MASK_ONLY): (0.0, -2.0, -2.0, -2.0),
    (2.0, StepRule.ADDITIVE): (2.5, 2.0, 1.5, 2.0),
    (-2.0, StepRule.ADDITIVE): (-1.5, -2.0, -2.5, -2.0),
    (2.0, StepRule.UNCHANGED): (2.0, 2.0, 2.0, 2.0),
    (-2.0, StepRule.UNCHANGED): (-2.0, -2.0, -2.0, -2.0),
}


@pytest.mark.parametrize(("advantage", "rule"), BY_HAND)
def test_each_rule_by_hand(advantage: float, rule: StepRule) -> None:
    verdicts = (1, 0, -1, None)
    found = step_advantages(advantage, verdicts, rule, additive_weight=0.5)
    assert found == BY_HAND[advantage, rule]


ADVANTAGES = st.floats(-5, 5)
VERDICTS = st.lists(st.sampled_from([1, 0, -1, None]), max_size=20)


@given(ADVANTAGES, st.lists(st.sampled_from([0, None]), max_size=20))
def test_with_neutral_verdicts_it_is_grpo_exactly(
    advantage: float, verdicts: list[int | None]
) -> None:
    for rule in set(StepRule) - {StepRule.AS_RELEASED}:
        assert step_advantages(advantage, verdicts, rule) == (advantage,) * len(verdicts)


@given(ADVANTAGES, st.integers(1, 20))
def test_with_all_sentences_supported_none_is_negative(advantage: float, count: int) -> None:
    assert all(one >= 0 for one in step_advantages(advantage, (1,) * count, FLIP))
    assert all(one <= 0 for one in step_advantages(advantage, (-1,) * count, FLIP))


@given(ADVANTAGES, VERDICTS)
def test_the_size_of_an_advantage_never_changes_and_zero_stays(
    advantage: float, verdicts: list[int | None]
) -> None:
    found = step_advantages(advantage, verdicts, FLIP)
    assert [abs(one) for one in found] == [abs(advantage)] * len(verdicts)


@given(ADVANTAGES, st.lists(st.sampled_from([1, -1, 0]), min_size=1, max_size=20))
def test_flipping_twice_is_the_identity(advantage: float, verdicts: list[int]) -> None:
    """The mirrored verdicts on the flipped advantages give what stood there, mirrored back."""
    once = step_advantages(advantage, verdicts, FLIP)
    for verdict, flipped in zip(verdicts, once, strict=True):
        (again,) = step_advantages(flipped, (verdict,), FLIP)
        assert again == flipped, "a flipped token agrees with its verdict"
        if flipped != advantage:
            (back,) = step_advantages(flipped, (-verdict,), FLIP)
            assert back == advantage


def test_flipped_tokens_are_counted() -> None:
    assert num_flipped(-2.0, (2.0, -2.0, 0.0, 2.0)) == 2
    assert num_flipped(0.0, (1.0, -1.0)) == 0


@pytest.mark.parametrize(
    ("score", "verdict"), [(1.0, 1), (0.5, 1), (math.nextafter(0.5, 0), -1), (0.0, -1)]
)
def test_with_both_limits_the_same_there_is_no_neutral_verdict(score: float, verdict: int) -> None:
    assert verdict_of(score, supported_from=0.5, contradicted_below=0.5) == verdict


@pytest.mark.parametrize(("score", "verdict"), [(0.75, 1), (0.7, 0), (0.25, 0), (0.2, -1)])
def test_what_lies_between_the_limits_is_neutral(score: float, verdict: int) -> None:
    assert verdict_of(score, supported_from=0.75, contradicted_below=0.25) == verdict
