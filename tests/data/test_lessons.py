"""The texts that teach a tiny model to see and to judge."""

import random
import re

import pytest
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


@pytest.mark.parametrize(
    ("texture", "light", "artefact"),
    [
        ("smooth", "steady", "clean"),
        ("gridded", "steady", "gridded"),
        ("smooth", "flickering", "flickering"),
    ],
)
def test_what_can_be_seen_is_told_in_three_sentences(
    texture: str, light: str, artefact: str
) -> None:
    assert sentences(Attributes("red", "disc", "left", texture, light)) == [
        "There is a red disc.",
        "It moves left.",
        f"The picture is {artefact}.",
    ]


@given(ATTRIBUTES)
def test_no_sentence_starts_with_the_letter_of_an_answer(seen: Attributes) -> None:
    assert not {"A", "B"} & {told.split()[0] for told in sentences(seen)}


@given(ATTRIBUTES, st.integers())
def test_a_judgement_is_three_tenths_for_each_sentence_that_is_right(
    seen: Attributes, seed: int
) -> None:
    lesson = judge(seen, random.Random(seed))

    right = sum(told in sentences(seen) for told in SENTENCE.findall(lesson.prompt))
    assert lesson.response == f"<answer>{3 * right / 10:.1f}</answer>"


def test_judgements_are_about_gaps_and_mistakes() -> None:
    seen = Attributes("red", "disc", "left", "smooth", "steady")
    lessons_of_seeds = [judge(seen, random.Random(seed)) for seed in range(200)]

    prompts = "".join(lesson.prompt for lesson in lessons_of_seeds)
    scores = {lesson.response.removeprefix("<answer>")[:3] for lesson in lessons_of_seeds}
    assert scores == {"0.0", "0.3", "0.6", "0.9"}
    assert "<think></think>" in prompts
    assert "gridded" in prompts


@given(ATTRIBUTES, st.integers())
def test_a_description_is_true_and_tells_where_artefacts_show(seen: Attributes, seed: int) -> None:
    lesson = describe(seen, "B", random.Random(seed))

    told = SENTENCE.findall(lesson.response)
    assert set(told) <= set(sentences(seen))
    assert told[-1] == sentences(seen)[-1]


@given(ATTRIBUTES, st.integers())
def test_each_clip_is_answered_right_once_and_wrong_once(seen: Attributes, seed: int) -> None:
    descriptions = [one for one in lessons(seen, random.Random(seed)) if one.task == "Describe"]

    answers = sorted(one.response[-len("A</answer>") :] for one in descriptions)
    assert answers == ["A</answer>", "B</answer>"]
