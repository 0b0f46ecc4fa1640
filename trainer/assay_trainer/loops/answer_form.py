"""Answers that don't keep to the answer format: what is shown of them, and what to do. Pure."""

import json
from collections.abc import Iterable, Sequence

from assay_trainer.answers.parsed import AnswerFormat
from assay_trainer.answers.tags import missing_marks

LOW_WELL_FORMED = 0.5
"""Below this share of answers in the answer format, the format is what is wrong first."""

_START_CHARACTERS, _END_CHARACTERS = 120, 60
"""What is shown of a long answer: how it begins, and its end, where the verdict should be."""


def shown_answers(said: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
    """Return two different answers as quoted lines, those in another form first.

    Args:
        said: completions, and whether each keeps to the answer format.

    Example:
        >>> shown_answers([("<answer>A</answer>", True), ("B", False), ("B", False), ("C", False)])
        ('"B"', '"C"')
    """
    different = dict(said)
    ordered = sorted(different, key=lambda text: different[text])
    return tuple(_line(text) for text in ordered[:2])


def _line(text: str) -> str:
    if len(text) > _START_CHARACTERS + _END_CHARACTERS:
        text = f"{text[:_START_CHARACTERS]} ... {text[-_END_CHARACTERS:]}"
    return json.dumps(text, ensure_ascii=False)


def missing_in(answer_format: AnswerFormat, prompts: Iterable[str]) -> tuple[str, ...]:
    """Return what tells of the answer format and one or more of the prompts don't name."""
    missing = {m for prompt in prompts for m in missing_marks(answer_format.marks, prompt)}
    return tuple(mark for mark in answer_format.marks if mark in missing)


def form_advice(answer_format: AnswerFormat, missing: Sequence[str]) -> str:
    """Return what to do about answers that don't keep to the answer format.

    Args:
        answer_format: of the stage.
        missing: what tells of it and the prompt doesn't name.
    """
    form = answer_format.form
    if missing:
        default = " (leave spec.prompt out for BusterX++'s prompt)"
        return (
            f"the prompt does not name {', '.join(missing)}: ask for the form {form} in "
            f"spec.prompt.think and spec.prompt.noThink{default * (answer_format.name == 'Letter')}"
            ", or in the rows' own text, or teach it by a stage of sft before this one"
        )
    return (
        f"the prompt names the tags, but the model does not write {form}: raise "
        "spec.rl.maxCompletionTokens if its answers are cut off; else ask for the form more "
        "plainly in spec.prompt.think and spec.prompt.noThink, or teach it by a stage of sft "
        "before this one"
    )
