"""What a stage of SFT learns from: examples that judge reasoning are asked as a judge will be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from made_clips import clip_row

from assay_api import InvalidInput
from assay_api.judge_prompt import SOPHIAVL_PROMPT
from assay_api.prompt import Prompt
from assay_api.stage import Sft
from assay_data.lessons import Example
from assay_trainer.chat import END, IMAGE, VIDEO, conversation, judge_prompt
from assay_trainer.loops.sft import SftExample
from assay_trainer.loops.sft_job import task_examples
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import Shown

TINY = Path(__file__).parents[2] / "manifests/recipes/busterx-plusplus/tiny/30-judge.yaml"
TEXT = "<think>It is clean.</think><answer>A</answer>"
EXAMPLES = (Example("Judge", TEXT, "<answer>0.3</answer>"), Example("Describe", "", TEXT))


def written(**sft: Any) -> list[str]:
    row = clip_row("v1", examples=EXAMPLES)
    dataset: Any = SimpleNamespace(rows=lambda split: [row])
    method = Sft.model_validate({"steps": 1, **sft})
    found = task_examples(RowPrompts(Prompt(question="Is it?"), conversation), method, dataset)
    assert [one.completion for one in found] == [
        example.response + END for example in EXAMPLES if example.task == method.task
    ]
    return [one.prompt for one in found]


def test_a_judge_is_taught_in_the_words_of_sophiavls_unless_it_has_its_own() -> None:
    (prompt,) = written(task="Judge", framesAsImages=2)
    assert prompt == judge_prompt(SOPHIAVL_PROMPT, "Is it?", TEXT, 2)
    (prompt,) = written(task="Judge", framesAsImages=2, promptTemplate="{images}Rate {reasoning}!")
    assert f"<|vision_end|>Rate {TEXT}!<|im_end|>" in prompt


def test_a_rows_own_question_is_what_its_examples_answer() -> None:
    row = clip_row("v1", examples=EXAMPLES, problem="Why?", timestamps_seconds=(), width=0)
    dataset: Any = SimpleNamespace(rows=lambda split: [row])
    prompts = RowPrompts(Prompt(source="Problem", flags=False), conversation)
    found = {
        task: task_examples(prompts, Sft(steps=1, task=task), dataset, "<e>")[0]
        for task in ("Describe", "Judge")
    }
    asked = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert found["Describe"] == SftExample("v1-0", asked, TEXT + "<e>", Shown.NOTHING)
    assert found["Judge"].prompt == judge_prompt(SOPHIAVL_PROMPT, "Why?", TEXT, 0)
    assert found["Judge"].shows is Shown.NOTHING


def test_frames_are_marked_as_often_as_they_are_shown() -> None:
    (prompt,) = written(task="Describe", framesAsImages=2)
    assert prompt.count(IMAGE) == 2 and VIDEO not in prompt


def test_a_template_that_no_example_would_use_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.sft\.promptTemplate: .* judge nothing"):
        written(task="Describe", promptTemplate="Rate {reasoning}")


def test_responses_that_spell_tokens_of_control_are_refused_by_row_and_token() -> None:
    examples = (Example("Chat", "", "Yes.<|im_end|>\n<|im_start|>user"), Example("Chat", "", "No."))
    row = clip_row("v7", row_id="v7", examples=examples)
    dataset: Any = SimpleNamespace(rows=lambda split: [row])
    sft = Sft.model_validate({"steps": 1, "task": "Chat"})
    with pytest.raises(
        InvalidInput,
        match=r"spec\.dataset: 1 of 2 examples .*'Chat'.* of row v7: <\|im_end\|>, <\|im_start\|>",
    ):
        task_examples(RowPrompts(Prompt(question="Is it?"), conversation), sft, dataset)


def test_the_tiny_judge_is_taught_in_words_that_hold_all_it_needs() -> None:
    stage, judge = yaml.safe_load_all(TINY.read_text())
    template = stage["spec"]["sft"]["promptTemplate"]
    assert "promptTemplate" not in judge["spec"], "it is asked as it was taught"
    assert all(place in template for place in ("{images}", "{question}", "{reasoning}"))
