"""Answers that don't keep to the answer format: what is shown of them, and what to do. Pure."""

import json
from collections.abc import Iterable, Sequence

from assay_trainer.answers.letter import parse_answer
from assay_trainer.answers.tags import TAGS, missing_marks

LOW_WELL_FORMED = 0.5
"""Below this share of answers in the answer format, the format is what is wrong first."""

_START_CHARACTERS, _END_CHARACTERS = 120, 60
"""What is shown of a long answer: how it begins, and its end, where the verdict should be."""


def shown_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """Return two different answers as quoted lines, those in another form first.

    Example:
        >>> shown_answers(["<think>a</think><answer>A</answer>", "B", "B", "It is real."])
        ('"B"', '"It is real."')
    """
    different = list(dict.fromkeys(answers))
    ordered = sorted(different, key=lambda text: parse_answer(text).well_formed)
    return tuple(_line(text) for text in ordered[:2])


def _line(text: str) -> str:
    if len(text) > _START_CHARACTERS + _END_CHARACTERS:
        text = f"{text[:_START_CHARACTERS]} ... {text[-_END_CHARACTERS:]}"
    return json.dumps(text, ensure_ascii=False)


def missing_in(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of the answer format that one or more of the prompts don't name."""
    missing = {tag for prompt in prompts for tag in missing_marks(TAGS, prompt)}
    return tuple(tag for tag in TAGS if tag in missing)


def form_advice(missing: Sequence[str]) -> str:
    """Return what to do about answers that don't keep to the answer format.

    Args:
        missing: tags of the format that the prompt doesn't name.
    """
    form = "<think>REASONING</think><answer>A or B</answer>"
    if missing:
        return (
            f"the prompt does not name {', '.join(missing)}: ask for the form {form} in "
            "spec.prompt.think and spec.prompt.noThink (leave spec.prompt out for BusterX++'s "
            "prompt), or teach it by a stage of sft before this one"
        )
    return (
        f"the prompt names the tags, but the model does not write {form}: raise "
        "spec.rl.maxCompletionTokens if its answers are cut off; else ask for the form more "
        "plainly in spec.prompt.think and spec.prompt.noThink, or teach it by a stage of sft "
        "before this one"
    )
