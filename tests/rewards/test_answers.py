import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_trainer.answers.letter import parse_answer

PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<THINK>", "<answer", "A", "B", "a", "b)",
    "fake", "real", "Based on", "not", "know", "now", "no", " ", "\n", "\\boxed{B}", ".",
)  # fmt: skip
messy = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
prose = st.text(st.characters(exclude_characters="<>"), max_size=60)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think>a</think><answer>A</answer>", "real"),
        ("<think>a</think>\n\n<answer> B\n</answer>\n", "fake"),
        ("<think></think><answer>B</answer>", "fake"),
        ("  <think>two\nlines</think> <answer>A</answer>", "real"),
        ("<think>a</think><answer>C</answer>", None),
        ("<think>a</think><answer>b</answer>", None),
        ("<think>a</think><answer>B) fake</answer>", None),
        ("<think>a</think><answer></answer>", None),
        ("<answer>B</answer>", None),
        ("<think>a</think>", None),
        ("<think>a<answer>B</answer>", None),
        ("<think>a</think>so<answer>B</answer>", None),
        ("So: <think>a</think><answer>B</answer>", None),
        ("<think>a</think><answer>B</answer> Done.", None),
        ("<think>a</think><answer>A</answer><answer>B</answer>", None),
        ("<think><think>a</think></think><answer>B</answer>", None),
        ("<think>say <answer>A</answer></think><answer>B</answer>", None),
        ("<answer>B</answer><think>a</think>", None),
        ("", None),
    ],
)
def test_only_the_whole_format_gives_a_verdict(text: str, verdict: str | None) -> None:
    parsed = parse_answer(text)
    assert parsed.verdict == verdict
    assert parsed.well_formed == (verdict is not None)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>B</answer>", "fake"),
        ("<answer>b)</answer>", "fake"),
        ("<answer>(A)</answer>", "real"),
        ("<answer>B) fake</answer>", "fake"),
        ("<answer> Fake. </answer>", "fake"),
        ("<answer>**A: real**</answer>", "real"),
        ("<ANSWER>REAL</ANSWER>", "real"),
        ("<answer>A</answer> no, wait <answer>B</answer>", "fake"),
        ("<answer>A <answer>B</answer>", "fake"),
        ("<answer>A</answer></answer>", "real"),
        ("<answer>B</answer><answer>unsure</answer>", None),
        ("<answer>A) fake</answer>", None),
        ("<answer>A and B</answer>", None),
        ("<answer>Based on the light, fake</answer>", None),
        ("<answer>not fake</answer>", None),
        ("<answer>areal</answer>", None),
        ("<answer></answer>", None),
        ("<answer>B", None),
        ("Based on what I know now, it is not real. B", None),
    ],
)
def test_the_loose_reading_takes_the_last_answer_tag_only(text: str, verdict: str | None) -> None:
    assert parse_answer(text).loose_verdict == verdict


@pytest.mark.parametrize(
    ("text", "thinking", "has_thinking"),
    [
        ("<think>hm</think><answer>A</answer>", "hm", True),
        ("<think> \n</think><answer>A</answer>", " \n", False),
        ("<think></think>", "", False),
        ("<answer>A</answer>", None, False),
        ("<think>hm", None, False),
        ("</think>hm<think>", None, False),
        ("<think>a</think><think>b</think>", None, False),
    ],
)
def test_thinking_is_the_content_of_the_only_think_block(
    text: str, thinking: str | None, has_thinking: bool
) -> None:
    parsed = parse_answer(text)
    assert (parsed.thinking, parsed.has_thinking) == (thinking, has_thinking)


@pytest.mark.parametrize(
    "token",
    ["<|im_start|>", "<|im_start|>" * 53, "<|endoftext|>", "<|vision_start|>", "<|eot_id|>",
     "<\uff5cUser\uff5c>"],
)  # fmt: skip
@pytest.mark.parametrize(
    "text",
    [
        "{}<think>a</think><answer>A</answer>",
        "<think>{}</think><answer>A</answer>",
        "<think>a</think>{}<answer>A</answer>",
        "<think>a</think><answer>A{}</answer>",
        "<think>a</think><answer>A</answer>{}",
    ],
)
def test_a_completion_with_a_token_of_control_says_nothing(text: str, token: str) -> None:
    parsed = parse_answer(text.format(token))
    assert (parsed.verdict, parsed.loose_verdict, parsed.thinking) == (None, None, None)
    assert not parsed.well_formed and not parsed.has_thinking
    assert parse_answer(text.format("")).verdict == "real"


def test_bars_and_angles_that_are_no_token_are_text() -> None:
    parsed = parse_answer("<think>1 <| 2 |> 3, |im_start|, <||></think><answer>B</answer>")
    assert parsed.verdict == "fake"


@given(messy)
def test_a_verdict_means_one_of_each_tag_and_agrees_with_the_loose_reading(text: str) -> None:
    parsed = parse_answer(text)
    if parsed.verdict is not None:
        tags = ("<think>", "</think>", "<answer>", "</answer>")
        assert [text.count(tag) for tag in tags] == [1, 1, 1, 1]
        assert parsed.loose_verdict == parsed.verdict
        assert parsed.thinking is not None


@given(prose)
def test_prose_without_tags_never_has_a_verdict(text: str) -> None:
    parsed = parse_answer(text)
    assert (parsed.verdict, parsed.loose_verdict, parsed.thinking) == (None, None, None)


@given(prose, st.sampled_from("AB"))
def test_no_reasoning_changes_the_verdict(thinking: str, letter: str) -> None:
    parsed = parse_answer(f"<think>{thinking}</think>\n<answer>{letter}</answer>")
    assert parsed.verdict == {"A": "real", "B": "fake"}[letter]
    assert parsed.thinking == thinking
