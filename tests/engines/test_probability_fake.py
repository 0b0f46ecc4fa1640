import math

import pytest

from assay_trainer.evaluation.detector import probability_fake

OPEN, CLOSE = "<answer>", "</answer>"


def chances(**shares: float) -> dict[str, float]:
    return {token: math.log(share) for token, share in shares.items()}


def ask(pieces: list[str], place: int, table: dict[str, float]) -> float | None:
    tables: list[dict[str, float]] = [{} for _ in pieces]
    tables[place] = table
    return probability_fake(pieces, tables)


@pytest.mark.parametrize("letter", ["A", "B"])
def test_the_two_letters_are_compared_whichever_was_chosen(letter: str) -> None:
    pieces = ["<think>", "</think>", OPEN, letter, CLOSE]

    assert ask(pieces, 3, chances(A=0.1, B=0.3, C=0.6)) == pytest.approx(0.75)


def test_a_letter_that_is_not_among_the_likeliest_counts_as_impossible() -> None:
    assert ask([OPEN, "B", CLOSE], 1, chances(B=0.9)) == 1.0
    assert ask([OPEN, "A", CLOSE], 1, chances(A=0.9)) == 0.0


def test_a_letter_may_share_its_token_with_the_mark_before_it() -> None:
    pieces = ["<", "answer", ">B", "</", "answer", ">"]
    table = {">B": math.log(0.2), ">A": math.log(0.6), "B": math.log(0.1)}

    assert ask(pieces, 2, table) == pytest.approx(0.25)


def test_a_completion_with_a_token_of_control_has_no_answer() -> None:
    pieces = ["<|im_start|>", OPEN, "B", CLOSE]

    assert ask(pieces, 2, chances(A=0.1, B=0.3)) is None
    assert ask(["im_start", *pieces[1:]], 2, chances(A=0.1, B=0.3)) == pytest.approx(0.75)


def test_a_letter_may_follow_a_space() -> None:
    pieces = [OPEN, " B", CLOSE]

    assert ask(pieces, 1, {" A": math.log(0.3), " B": math.log(0.3)}) == pytest.approx(0.5)


def test_the_last_answer_counts() -> None:
    pieces = [OPEN, "A", CLOSE, OPEN, "B", CLOSE]

    assert ask(pieces, 4, chances(A=0.25, B=0.75)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        ["<think>", "B"],
        [OPEN],
        [OPEN, "real", CLOSE],
        [OPEN, "real", CLOSE, "B"],
        ["B", OPEN, "?", CLOSE],
    ],
)
def test_without_a_letter_in_the_answer_there_is_no_probability(pieces: list[str]) -> None:
    assert probability_fake(pieces, [chances(A=0.5, B=0.5)] * len(pieces)) is None
