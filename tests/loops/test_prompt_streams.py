"""The stream of prompts and the held-out sample, by their laws, for any number of rows."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from made_clips import clip_row

from assay_api import ThinkingMode
from assay_api.prompt import BUSTERX_PROMPT, Prompt
from assay_data.dataset import ClipRow
from assay_trainer.chat import conversation
from assay_trainer.loops.prompts import PromptStream, balanced
from assay_trainer.loops.validation import held_out_sample
from assay_trainer.prompts.row_prompts import RowPrompts

MODES = (ThinkingMode.THINK, ThinkingMode.NO_THINK)
seeds, places = st.integers(0, 2**31), st.integers(0, 200)


def clip_prompts(prompt: Prompt) -> RowPrompts:
    return RowPrompts(prompt, conversation)


def row(name: str, label: str = "real") -> ClipRow:
    return clip_row(name, row_id=name, label=label)


@given(modes=st.lists(st.sampled_from(MODES), max_size=30), seed=seeds, start=places)
def test_each_prompt_asks_in_the_mode_that_is_wanted_of_it(modes, seed, start) -> None:
    rows = [row(f"v{index}") for index in range(7)]

    drawn = PromptStream(rows, clip_prompts(Prompt(question="Real?")), seed).draw(start, modes)

    assert [item.mode for item in drawn] == modes
    for item in drawn:
        flag = {"Think": "/think", "NoThink": "/no_think"}[item.mode]
        assert item.text.endswith(f"Real? {flag}<|im_end|>\n<|im_start|>assistant\n")


@given(seed=seeds, start=places, modes=st.lists(st.sampled_from(MODES), max_size=30))
def test_any_prompt_is_reached_without_what_came_before(seed, start, modes) -> None:
    rows = [row(f"v{index}") for index in range(7)]
    stream = PromptStream(rows, clip_prompts(BUSTERX_PROMPT), seed)
    before = [ThinkingMode.THINK] * start

    assert stream.draw(start, modes) == stream.draw(0, before + modes)[start:]


@given(num_real=st.integers(1, 9), num_fake=st.integers(1, 9), seed=seeds)
def test_a_round_asks_about_both_classes_equally_often(num_real, num_fake, seed) -> None:
    rows = [row(f"r{index}") for index in range(num_real)]
    rows += [row(f"f{index}", "fake") for index in range(num_fake)]
    most = max(num_real, num_fake)

    drawn = PromptStream(rows, clip_prompts(BUSTERX_PROMPT), seed).draw(0, MODES * most)

    assert Counter(item.label for item in drawn) == {"real": most, "fake": most}
    times = Counter(item.row_id for item in drawn)
    assert times.keys() == {one.row_id for one in rows}
    for label in ("real", "fake"):
        counts = [times[one.row_id] for one in rows if one.label == label]
        assert max(counts) - min(counts) <= 1


@given(
    num_real=st.integers(0, 12), num_fake=st.integers(0, 12), most=st.integers(1, 30), seed=seeds
)
def test_held_out_clips_are_as_even_as_the_classes_allow(num_real, num_fake, most, seed) -> None:
    rows = [row(f"r{index}") for index in range(num_real)]
    rows += [row(f"f{index}", "fake") for index in range(num_fake)]

    chosen = held_out_sample(rows, most, seed)

    counts = Counter(one.label for one in chosen)
    assert len({one.row_id for one in chosen}) == len(chosen) == min(most, len(rows))
    assert abs(counts["real"] - counts["fake"]) <= 1 or (
        counts["real"] == num_real or counts["fake"] == num_fake
    )
    assert chosen == held_out_sample(rows, most, seed)
    assert chosen[: most // 2] == held_out_sample(rows, max(most // 2, 1), seed)[: most // 2]


def test_classes_are_balanced_by_repeating_the_rows_of_the_smaller_one() -> None:
    rows = [row("a"), row("b"), row("c"), row("d"), row("e"), row("x", "fake"), row("y", "fake")]

    assert [r.row_id for r in balanced(rows)] == [*"abcdexy", "x", "y", "x"]
    assert balanced(rows[3:]) == [*rows[3:]]
