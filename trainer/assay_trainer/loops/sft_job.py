"""The stages that learn from examples: SFT on a dataset's own, fusion on collected ones."""

import os
from collections.abc import Sequence

import torch

from assay_api import InvalidInput, ResolvedStageJob, Split, ThinkingMode
from assay_api.control_tokens import control_tokens
from assay_api.judge_prompt import SOPHIAVL_PROMPT
from assay_api.stage import OWN_RESPONSE, Sft
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.usable import usable_rows
from assay_data.lessons import Example
from assay_trainer.chat import END, IMAGE, VIDEO, judge_turns
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.fusion import both_modes, collect
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.publish_model import publish_model
from assay_trainer.loops.sft import SftExample, run_sft
from assay_trainer.loops.stopping import SIGTERM_EXIT_CODE, Stop
from assay_trainer.prompts.own_responses import own_responses
from assay_trainer.prompts.row_media import shown_rows
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import Shown


def run_supervised(job: ResolvedStageJob) -> bool:
    """Run the stage in this process, or in this rank of several, to its end.

    Returns:
        Whether it came to its end; if not, it was asked to stop, and a checkpoint is saved.

    Raises:
        SystemExit: the process was asked to end by a signal; a checkpoint is saved.
        InvalidInput: the dataset has no examples of the task.
        EngineError: fusion found no correct sample to learn from.
    """
    spec = job.stage.spec
    world_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world_size))
    if spec.fusion is not None and int(os.environ.get("RANK", "0")) == 0:
        if not collect(job):
            return False
    parts = build_parts(job, temperature=1.0)
    if spec.fusion is not None:
        parts.learner.barrier()
        examples, count = both_modes(job), spec.fusion.examples_per_step
    else:
        assert spec.sft is not None
        examples, count = (
            _examples(parts, spec.sft),
            spec.sft.examples_per_step,
        )
    stop = run_sft(parts, examples, count)
    if stop is Stop.SIGNALLED:
        raise SystemExit(SIGTERM_EXIT_CODE)
    if stop:
        return False
    if parts.learner.rank == 0:
        publish_model(parts)
    return True


def _examples(parts: StageParts, sft: Sft) -> list[SftExample]:
    if sft.task == OWN_RESPONSE:
        return _own_responses(parts)
    return task_examples(parts.prompts, sft, parts.dataset, parts.policy.end)


def _own_responses(parts: StageParts) -> list[SftExample]:
    prompt, policy = parts.stage.spec.prompt, parts.policy
    rows = usable_rows(parts.dataset.rows(Split.TRAIN), needs_label=False, source=prompt.source)
    found = own_responses(
        parts.prompts,
        shown_rows(rows, prompt, policy.family.shows, Split.TRAIN.value),
        end=policy.end,
        tokenizer=policy.tokenizer,
        context=policy.base.config.get_text_config().max_position_embeddings,
    )
    return [
        SftExample(one.prompt.row_id, one.prompt.text, one.completion, one.prompt.shows)
        for one in found
    ]


def task_examples(
    prompts: RowPrompts, sft: Sft, dataset: ClipDataset, end: str = END
) -> list[SftExample]:
    """Return the Train rows' examples of the stage's task, as prompts and completions.

    Args:
        prompts: what rows are asked.
        sft: the stage's method.
        dataset: the rows.
        end: token that ends a completion.

    Raises:
        InvalidInput: there are none, or none that the stage's template is for, or a response holds
            tokens of control.
    """
    rows = dataset.rows(Split.TRAIN)
    rows = usable_rows(rows, needs_label=False, source=prompts.prompt.source)
    found = [(row, one) for row in rows for one in row.examples if one.task == sft.task]
    if not found:
        tasks = sorted({example.task for row in rows for example in row.examples})
        raise InvalidInput(
            f"spec.sft.task: the dataset's rows have no examples of the task {sft.task!r}; "
            f"they have {', '.join(tasks) or 'no examples at all'}"
        )
    if sft.prompt_template is not None and not any(example.prompt for _, example in found):
        raise InvalidInput(
            f"spec.sft.promptTemplate: the examples of the task {sft.task!r} judge nothing, so "
            "it would not be used; leave it out"
        )
    _refuse_control_tokens(sft.task, found)
    written = [(row, example, _written(prompts, sft, row, example)) for row, example in found]
    return [
        SftExample(row.row_id, text, example.response + end, shows, sft.frames_as_images or None)
        for row, example, (text, shows) in written
    ]


def _refuse_control_tokens(task: str, found: Sequence[tuple[ClipRow, Example]]) -> None:
    """Raise InvalidInput if a response would teach the model to write tokens of control."""
    wrong = [(row.row_id, tokens) for row, e in found if (tokens := control_tokens(e.response))]
    if wrong:
        row_id, tokens = wrong[0]
        raise InvalidInput(
            f"spec.dataset: {len(wrong)} of {len(found)} examples of the task {task!r} have "
            f"responses with tokens of control in them, which would be learned as such; the first "
            f"is of row {row_id}: {', '.join(tokens)}. Take them out of the source and make the "
            "dataset anew: the end of a turn is added by Assay"
        )


def _written(prompts: RowPrompts, sft: Sft, row: ClipRow, example: Example) -> tuple[str, Shown]:
    """Write an example as it is asked in use: judging shows the text to judge, others ask."""
    item, num_images = prompts.item(row, ThinkingMode.THINK), sft.frames_as_images
    if example.prompt:
        template = sft.prompt_template or SOPHIAVL_PROMPT
        turns = judge_turns(template, item.question, example.prompt, num_images)
        return prompts.render(turns), Shown.PICTURES if num_images else Shown.NOTHING
    if not num_images:
        return item.text, item.shows
    return item.text.replace(VIDEO, IMAGE * num_images), Shown.PICTURES
