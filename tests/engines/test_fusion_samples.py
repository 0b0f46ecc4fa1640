import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import EngineError, ThinkingMode
from assay_data.store import open_store
from assay_trainer.loops.fusion import COLLECTED, both_modes, choose, without_thinking
from assay_trainer.records import PromptItem, Rollout

LETTER = {"real": "A", "fake": "B"}


def prompt(row_id: str, label: str) -> PromptItem:
    return PromptItem(row_id, label, ThinkingMode.THINK, text="", question="")


def rollout(text: str) -> Rollout:
    return Rollout((1,), (-0.5,), text, truncated=False, policy_version=0)


def says(letter: str, thinking: str = "It is smooth.") -> Rollout:
    return rollout(f"<think>{thinking}</think><answer>{letter}</answer>")


def test_only_correct_samples_with_reasoning_are_chosen_and_each_once() -> None:
    real, fake = prompt("r", "real"), prompt("f", "fake")
    good = [(real, says("A")), (fake, says("B")), (fake, says("B", "It flickers."))]
    sampled = [
        *good,
        (real, says("A")),
        (real, says("B")),
        (fake, says("A")),
        (real, says("A", " \n")),
        (fake, rollout("<answer>B</answer>")),
        (fake, rollout("<think>Cut off")),
    ]

    chosen = choose(sampled, 100, seed=0)

    assert sorted(chosen, key=str) == sorted(good, key=str)


@given(
    num_real=st.integers(1, 9),
    num_fake=st.integers(1, 9),
    half=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_at_most_half_of_the_samples_are_of_one_class(num_real, num_fake, half, seed) -> None:
    sampled = [(prompt(f"r{i}", "real"), says("A")) for i in range(num_real)]
    sampled += [(prompt(f"f{i}", "fake"), says("B")) for i in range(num_fake)]

    chosen = choose(sampled, 2 * half, seed)

    labels = [item.label for item, _ in chosen]
    assert labels.count("real") == min(num_real, half)
    assert labels.count("fake") == min(num_fake, half)
    assert len({item.row_id for item, _ in chosen}) == len(chosen)
    assert chosen == choose(sampled, 2 * half, seed)


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_a_class_without_a_correct_sample_ends_the_stage(missing: str) -> None:
    sampled = [
        (prompt(label, label), says(LETTER["fake" if missing == "real" else "real"]))
        for label in ("real", "fake")
    ]

    with pytest.raises(
        EngineError,
        match=rf"none of the model's 2 samples is right about a {missing} clip.*samplesPerClip",
    ):
        choose(sampled, 4, seed=0)


def test_a_sample_without_thinking_keeps_its_answer() -> None:
    text = "<think>Wait.</think>\n<answer> B </answer>"

    assert without_thinking(text) == "<think></think><answer>B</answer>"


def test_each_collected_sample_becomes_an_example_in_both_modes(orders, tmp_path: Path) -> None:
    job = orders(tmp_path, {"fusion": {"steps": 1}})
    text = "<think>Odd.</think><answer>B</answer>"
    content = {"identity": "any", "samples": [{"row_id": "v1", "text": text}]}
    open_store(job.output).write(COLLECTED, json.dumps(content).encode())

    think, no_think = both_modes(job)

    assert (think.row_id, think.completion) == ("v1", f"{text}<|im_end|>")
    assert think.prompt.endswith(" /think<|im_end|>\n<|im_start|>assistant\n")
    assert (no_think.row_id, no_think.completion) == (
        "v1",
        "<think></think><answer>B</answer><|im_end|>",
    )
    assert no_think.prompt.endswith(" /no_think<|im_end|>\n<|im_start|>assistant\n")
