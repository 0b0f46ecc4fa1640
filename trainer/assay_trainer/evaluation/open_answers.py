"""Rows that ask questions of their own, asked as often as wanted, and their answers compared."""

import logging
from collections.abc import Sequence
from pathlib import Path

from assay_api import InvalidInput, ThinkingMode
from assay_api.answers import Answer
from assay_api.evaluation import EvaluationSpec
from assay_api.prompt import Prompt, PromptSource
from assay_data.dataset import ClipDataset, ClipRow, shapes_of
from assay_data.dataset.order import derived_seed
from assay_data.store import Store
from assay_trainer.answers.answerable import answerable_rows
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.evaluation.answer_metrics import GradedAnswer, summarise_task
from assay_trainer.evaluation.summary import AnswersSummary
from assay_trainer.families.family import family_of
from assay_trainer.loops.validation import held_out_sample
from assay_trainer.metrics_log import write_progress
from assay_trainer.models.published import check_model_folder
from assay_trainer.prompts.lengths import measure_prompts, room_for_prompts
from assay_trainer.prompts.row_media import row_media, shown_rows
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import PromptItem, Rollout, Shown
from assay_trainer.required_rows import require_rows
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.prompt_length import longest_prompt_tokens
from assay_trainer.rollout.sampler import Sampler, SampleRequest, SamplingPlan

_LOG = logging.getLogger(__name__)
_ROWS_AT_A_TIME = 64


def evaluate_answers(
    spec: EvaluationSpec,
    folder: Path,
    dataset: ClipDataset,
    store: Store,
    how: tuple[Prompt, Answer],
) -> dict[ThinkingMode, AnswersSummary]:
    """Ask a model what the rows ask and return how right its answers are, by thinking mode.

    Args:
        spec: which rows, in which modes, how often and at which temperature.
        folder: the model's folder.
        dataset: the rows.
        store: the evaluation's folder, which is told how far it is.
        how: what is asked, and how answers are read and compared.

    Raises:
        InvalidInput: model or dataset are not what the evaluation needs, or the model does not fit
            into the GPU.
        StoreError: the store cannot be written.
    """
    from transformers import AutoConfig

    from assay_trainer.rollout.vllm_engine import VllmSampler

    check_model_folder(folder)
    prompt, answer = how
    rule, family = AnswerRule.of(answer), family_of(folder)
    tokenizer = family.tokenizer(family.processor(folder))
    prompts = RowPrompts(prompt, lambda turns: family.render(turns, tokenizer))
    rows = _rows(spec, dataset, prompt, rule)
    rows = shown_rows(rows, prompt, family.shows, spec.split.value)
    modes = _modes(spec, prompt)
    if prompt.source is PromptSource.QUESTION:
        longest = longest_prompt_tokens(folder / "tokenizer.json", prompt, shapes_of(rows))
    else:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        room = room_for_prompts(prompt, config, spec.max_completion_tokens)
        measured = measure_prompts(prompts, rows, modes, tokenizer).within(room, spec.split.value)
        rows, longest = measured.rows, measured.longest
    engine = EngineConfig(
        spec.precision,
        longest + spec.max_completion_tokens,
        max_pictures=_max_pictures(rows, prompt),
    )
    graded: dict[ThinkingMode, list[GradedAnswer]] = {}
    with VllmSampler(folder, engine) as sampler:
        asked = [prompts.item(row, mode) for mode in modes for row in rows]
        for start in range(0, len(asked), _ROWS_AT_A_TIME):
            write_progress(store, start, len(asked), "answering", {})
            some = asked[start : start + _ROWS_AT_A_TIME]
            for item, drawn in zip(some, _ask(sampler, dataset, some, spec), strict=True):
                graded.setdefault(item.mode, []).extend(_graded(rule, item, one) for one in drawn)
            _LOG.info("%d of %d questions", start + len(some), len(asked))
    return {mode: _summary(spec, answer, found) for mode, found in graded.items()}


def _rows(
    spec: EvaluationSpec, dataset: ClipDataset, prompt: Prompt, rule: AnswerRule
) -> tuple[ClipRow, ...]:
    part = spec.split.value
    rows = dataset.rows(spec.split)
    if not rows:
        raise InvalidInput(f"spec.split: the dataset has no rows in {part}")
    rows = require_rows(rows, part, needs_label=True, source=prompt.source)
    rows = answerable_rows(rows, rule.format, part)
    if spec.max_clips is None:
        return rows
    return tuple(held_out_sample(rows, spec.max_clips, spec.seed))


def _modes(spec: EvaluationSpec, prompt: Prompt) -> tuple[ThinkingMode, ...]:
    """Return the modes to ask in: a row's own text is the same in all of them."""
    modes = tuple(dict.fromkeys(spec.modes))
    if prompt.source in (PromptSource.QUESTION, PromptSource.PROBLEM) or len(modes) == 1:
        return modes
    _LOG.info(
        "prompt.source %s asks the same in each mode: asking in the mode %s only",
        *(prompt.source.value, modes[0].value),
    )
    return modes[:1]


def _max_pictures(rows: Sequence[ClipRow], prompt: Prompt) -> int:
    if prompt.source is PromptSource.QUESTION:
        return 0
    return max(len(row.timestamps_seconds) for row in rows)


def _ask(
    sampler: Sampler, dataset: ClipDataset, items: Sequence[PromptItem], spec: EvaluationSpec
) -> list[list[Rollout]]:
    requests = [
        SampleRequest(
            item.text,
            None if item.shows is Shown.NOTHING else row_media(dataset, item.row_id, item.shows),
            derived_seed(spec.seed, "evaluation", item.row_id),
        )
        for item in items
    ]
    plan = SamplingPlan(spec.samples, spec.max_completion_tokens, spec.temperature)
    return [[one.rollout for one in drawn] for drawn in sampler.sample(requests, plan)]


def _graded(rule: AnswerRule, item: PromptItem, rollout: Rollout) -> GradedAnswer:
    parsed = rule.parse(item, rollout)
    value = rule.value_of(item.row, parsed.verdict)
    return GradedAnswer(
        row_id=item.row_id,
        question_id=item.row.video_id,
        task=item.row.task,
        value=value,
        is_correct=rule.counts(value),
        is_loosely_correct=rule.counts(rule.value_of(item.row, parsed.loose_verdict)),
        is_well_formed=parsed.well_formed,
        is_truncated=rollout.truncated,
        length_tokens=len(rollout.token_ids),
    )


def _summary(
    spec: EvaluationSpec, answer: Answer, graded: Sequence[GradedAnswer]
) -> AnswersSummary:
    tasks = sorted({one.task for one in graded})
    return AnswersSummary(
        metric=answer.metric,
        samples=spec.samples,
        temperature=spec.temperature,
        total=summarise_task(graded),
        tasks={name: summarise_task([a for a in graded if a.task == name]) for name in tasks},
    )
