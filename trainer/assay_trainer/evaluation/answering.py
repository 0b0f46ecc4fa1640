"""Every clip of an evaluation, asked in every mode, and what the answers add up to."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from assay_api import InvalidInput, ThinkingMode
from assay_api.answers import Answer as AnswerSpec
from assay_api.evaluation import EvaluationSpec
from assay_api.layout import accuracy_key
from assay_api.prompt import PromptSource
from assay_data.dataset import ClipDataset, ClipRow, shapes_of
from assay_data.dataset.reader import ClipReader, ReadClip, ReadPlan
from assay_data.dataset.usable import count_lacks
from assay_data.store import Store
from assay_trainer.evaluation.detector import Detection, Detector
from assay_trainer.evaluation.metrics import Answer, summarise
from assay_trainer.evaluation.open_answers import evaluate_answers
from assay_trainer.evaluation.summary import NO_LABELS, Summary, accuracies
from assay_trainer.exported import EVALUATION_ACCURACY
from assay_trainer.loops.validation import held_out_sample
from assay_trainer.metrics_log import write_progress
from assay_trainer.models.published import model_card
from assay_trainer.records import Clip
from assay_trainer.required_rows import require_rows

_LOG = logging.getLogger(__name__)
_CLIPS_AT_A_TIME = 64
LETTERS = AnswerSpec()
"""How a detector answers."""


def evaluate(spec: EvaluationSpec, folder: Path, dataset: ClipDataset, store: Store) -> Summary:
    """Ask a model about the clips and return how good its answers are.

    Args:
        spec: which clips, in which modes, and how the answers are summed up.
        folder: the model's folder.
        dataset: the clips.
        store: the evaluation's folder, which is told how far it is.

    Raises:
        InvalidInput: model or dataset are not what the evaluation needs, or the model does not fit
            into the GPU.
        StoreError: the store cannot be written.
    """
    card = model_card(folder)
    how = (spec.prompt or card.prompt, spec.answer or card.answer)
    if how[0].source is not PromptSource.QUESTION or how[1] != LETTERS:
        answers_by_mode = evaluate_answers(spec, folder, dataset, store, how)
        found = Summary(
            answers=answers_by_mode, bootstrap_samples=spec.bootstrap_samples, seed=spec.seed
        )
        _tell(found)
        return found
    return _evaluate_detector(spec, folder, dataset, store)


def _evaluate_detector(
    spec: EvaluationSpec, folder: Path, dataset: ClipDataset, store: Store
) -> Summary:
    """Ask a detector about clips."""
    if spec.samples > 1 or spec.temperature > 0:
        raise InvalidInput(
            f"spec.samples ({spec.samples}) and spec.temperature ({spec.temperature:g}) act only "
            "on questions of the rows' own (spec.prompt.source): a detector's verdict about a clip "
            "is its likeliest one; leave them out"
        )
    rows = dataset.rows(spec.split)
    if not rows:
        raise InvalidInput(f"spec.split: the dataset has no clips in {spec.split.value}")
    left_out = count_lacks(rows, needs_label=False)
    rows = require_rows(rows, spec.split.value, needs_label=False)
    if spec.max_clips is not None:
        rows = tuple(held_out_sample(rows, spec.max_clips, spec.seed))
    answers: list[Answer] = []
    total = len(rows) * len(spec.modes)
    with Detector(
        folder,
        shapes_of(rows),
        precision=spec.precision,
        max_completion_tokens=spec.max_completion_tokens,
        prompt=spec.prompt,
    ) as detector:
        for mode in spec.modes:
            with ClipReader(dataset, rows, ReadPlan(rounds=1)) as reader:
                while clips := list(islice(reader, _CLIPS_AT_A_TIME)):
                    write_progress(store, len(answers), total, f"answering, {mode.value}", {})
                    answers += _answers(detector, clips, mode)
                    _LOG.info("%d of %d answers, %s", len(answers), total, mode.value)
    summary = summarise(answers, spec.bootstrap_samples, spec.seed, left_out)
    _tell(summary)
    return summary


def _tell(summary: Summary) -> None:
    """Export the accuracy of each mode that has one, and write it into the log."""
    known = accuracies(summary)
    for mode, value in known.items():
        EVALUATION_ACCURACY.labels(mode.value).set(value)
    told = ", ".join(f"{accuracy_key(mode)} {value:.3f}" for mode, value in known.items())
    _LOG.info("complete: %s", told or f"no accuracy: {NO_LABELS}")


def _answers(detector: Detector, clips: Sequence[ReadClip], mode: ThinkingMode) -> list[Answer]:
    detections = detector.detect([Clip(c.frames, c.row.sampled_fps) for c in clips], mode)
    return [_answer(clip.row, found) for clip, found in zip(clips, detections, strict=True)]


def _answer(row: ClipRow, found: Detection) -> Answer:
    wants_thinking = found.mode is ThinkingMode.THINK
    parsed = found.parsed
    return Answer(
        row_id=row.row_id,
        video_id=row.video_id,
        label=row.label,
        generator=row.generator,
        mode=found.mode,
        verdict=parsed.verdict,
        loose_verdict=parsed.loose_verdict,
        probability_fake=found.probability_fake,
        length_tokens=found.num_tokens,
        followed_mode=parsed.thinking is not None and parsed.has_thinking == wants_thinking,
    )
