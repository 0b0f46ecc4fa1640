"""Which samples count for fusion, which clips come next, and what is chosen."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from made_prompts import asked

from assay_api import ThinkingMode
from assay_trainer.loops.fusion import without_thinking
from assay_trainer.loops.samples import (
    RightSample,
    choose,
    clips_answered,
    next_clips,
    right_samples,
)
from assay_trainer.records import PromptItem, Rollout


def prompt(row_id: str, label: str) -> PromptItem:
    return asked(row_id, label, ThinkingMode.THINK, text="", question="")


def rollout(text: str) -> Rollout:
    return Rollout((1,), (-0.5,), text, truncated=False, policy_version=0)


def says(letter: str, thinking: str = "It is smooth.") -> Rollout:
    return rollout(f"<think>{thinking}</think><answer>{letter}</answer>")


def row(row_id: str, label: str) -> Any:
    """A row as far as the order of clips needs one."""
    return SimpleNamespace(row_id=row_id, label=label)


def sample(row_id: str, text: str = "text") -> RightSample:
    return RightSample(row_id, {"r": "real", "f": "fake"}[row_id[0]], text)


def test_only_right_samples_with_reasoning_count_and_each_once() -> None:
    drawn = [
        *(says("B"), says("B", "It flickers."), says("B"), says("A"), says("B", " \n")),
        *(rollout("<answer>B</answer>"), rollout("<think>Cut off")),
    ]

    right = right_samples(prompt("f", "fake"), drawn)

    assert right == [sample("f", says("B").text), sample("f", says("B", "It flickers.").text)]


def test_each_clip_gives_one_sample_before_any_gives_a_second() -> None:
    samples = [sample("r1", "a"), sample("r1", "b"), sample("f1"), sample("r2", "c")]

    assert choose(samples, 2) == [sample("r1", "a"), sample("r2", "c"), sample("f1")]
    assert choose(samples, 3) == [
        *(sample("r1", "a"), sample("r2", "c"), sample("r1", "b"), sample("f1"))
    ]


def test_clips_and_not_their_samples_are_counted() -> None:
    samples = [sample("r1", "a"), sample("r1", "b"), sample("f1"), sample("f2")]

    assert clips_answered(samples) == {"real": 1, "fake": 2}


def test_a_class_that_has_enough_is_passed_over() -> None:
    order = [row(name, "real" if name[0] == "r" else "fake") for name in ("r1", "f1", "r2", "f2")]

    assert next_clips(order, 0, {}, 2, 3) == (order[:3], 3)
    assert next_clips(order, 1, {"real": 2, "fake": 1}, 2, 3) == ([order[1], order[3]], 4)
    assert next_clips(order, 0, {"real": 2, "fake": 2}, 2, 3) == ([], 4)


@settings(deadline=None)  # Where a machine is busy, the first of many takes long.
@given(
    right=st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=30),
    wanted=st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_what_is_chosen_does_not_depend_on_how_many_clips_are_sampled_at_once(
    right, wanted, sizes
) -> None:
    """`right` says of each clip whether it is real, and how many of its samples are right."""
    order = [
        row(f"{'r' if is_real else 'f'}{i}", "real" if is_real else "fake")
        for i, (is_real, _) in enumerate(right)
    ]
    drawn = {
        clip.row_id: [sample(clip.row_id, f"{n}") for n in range(num_right)]
        for clip, (_, num_right) in zip(order, right, strict=True)
    }

    def collected(at_once: int) -> list[RightSample]:
        samples: list[RightSample] = []
        clips, place = next_clips(order, 0, {}, wanted, at_once)
        while clips:
            samples += [one for clip in clips for one in drawn[clip.row_id]]
            clips, place = next_clips(order, place, clips_answered(samples), wanted, at_once)
        return choose(samples, wanted)

    one, other = (collected(size) for size in sizes)

    assert one == other
    everything = [one for clip in order for one in drawn[clip.row_id]]
    for label in ("real", "fake"):
        there = sum(found.label == label for found in everything)
        assert sum(found.label == label for found in one) == min(wanted, there)


def test_a_sample_without_thinking_keeps_its_answer() -> None:
    text = "<think>Wait.</think>\n<answer> B </answer>"

    assert without_thinking(text) == "<think></think><answer>B</answer>"
