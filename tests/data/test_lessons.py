"""The texts that teach a tiny model to see and to judge."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from assay_data.lessons import (
    COLORS,
    DIRECTIONS,
    LIGHTS,
    SHAPES,
    TEXTURES,
    Attributes,
    describe,
    judge,
    lessons,
    sentences,
)

SENTENCE = re.compile(r"[A-Z][a-z ]*\.")
ATTRIBUTES = st.builds(
    Attributes,
    color=st.sampled_from(COLORS),
    shape=st.sampled_from(SHAPES),
    direction=st.sampled_from(DIRECTIONS),
    texture=st.sampled_from(TEXTURES),
    light=st.sampled_from(LIGHTS),
)


def test_what_can_be_seen_is_told_in_four_sentences() -> None:
    seen = Attributes("red", "disc", "left", "smooth", "steady")

    assert list(sentences(seen).values()) == [
        "There is a red disc.",
        "It moves left.",
        "The texture is smooth.",
        "The light is steady.",
    ]


@given(ATTRIBUTES)
def test_no_sentence_starts_with_the_letter_of_an_answer(seen: Attributes) -> None:
    assert not {"A", "B"} & {told.split()[0] for told in sentences(seen).values()}


@given(ATTRIBUTES, st.integers())
def test_a_judgement_is_a_quarter_for_each_sentence_that_is_right(
    seen: Attributes, seed: int
) -> None:
    lesson = judge(seen, random.Random(seed))

    right = sum(told in sentences(seen).values() for told in SENTENCE.findall(lesson.prompt))
    assert lesson.response == f"<answer>{right / 4:.2f}</answer>"


def test_judgements_are_about_gaps_and_mistakes() -> None:
    seen = Attributes("red", "disc", "left", "smooth", "steady")
    lessons_of_seeds = [judge(seen, random.Random(seed)) for seed in range(200)]

    prompts = "".join(lesson.prompt for lesson in lessons_of_seeds)
    assert {lesson.response[8:12] for lesson in lessons_of_seeds} == {
        "0.00",
        "0.25",
        "0.50",
        "0.75",
        "1.00",
    }
    assert "<think></think>" in prompts
    assert "gridded" in prompts


@given(ATTRIBUTES, st.integers())
def test_a_description_is_true_and_tells_where_artefacts_show(seen: Attributes, seed: int) -> None:
    lesson = describe(seen, "B", random.Random(seed))

    told = SENTENCE.findall(lesson.response)
    assert set(told) <= set(sentences(seen).values())
    assert told[-2:] == [f"The texture is {seen.texture}.", f"The light is {seen.light}."]


@given(ATTRIBUTES, st.integers())
def test_each_clip_is_answered_right_once_and_wrong_once(seen: Attributes, seed: int) -> None:
    descriptions = [one for one in lessons(seen, random.Random(seed)) if one.task == "Describe"]

    answers = {one.response[-len("A</answer>") :] for one in descriptions}
    assert answers == {"A</answer>", "B</answer>"}
