"""One evaluation, from its orders to its completion."""

import logging
from collections.abc import Sequence
from itertools import islice

from assay_api import (
    Completion,
    InvalidInput,
    ResolvedEvaluationJob,
    ThinkingMode,
)
from assay_api.digest import evaluation_digest
from assay_api.layout import accuracy_key
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.reader import ClipReader, ReadClip, ReadPlan
from assay_data.store import open_store
from assay_trainer.evaluation.detector import Detection, Detector
from assay_trainer.evaluation.metrics import Answer, summarise
from assay_trainer.evaluation.summary import EvaluationResult, Summary, to_json
from assay_trainer.exported import EVALUATION_ACCURACY
from assay_trainer.loops.validation import held_out_sample
from assay_trainer.metrics_log import write_progress
from assay_trainer.models.published import model_folder
from assay_trainer.records import Clip

_LOG = logging.getLogger(__name__)
_CLIPS_AT_A_TIME = 64


def run_evaluation_job(job: ResolvedEvaluationJob) -> Summary:
    """Evaluate, write the result, and the completion as the very last thing.

    Raises:
        InvalidInput: model or dataset are not what the evaluation needs.
        StoreError: the output cannot be written.
    """
    spec, store = job.evaluation.spec, open_store(job.output)
    dataset = ClipDataset.open(open_store(job.dataset))
    rows = dataset.rows(spec.split)
    if spec.max_clips is not None:
        rows = tuple(held_out_sample(rows, spec.max_clips, spec.seed))
    if not rows:
        raise InvalidInput(f"spec.split: the dataset has no clips in {spec.split.value}")
    detector = Detector(
        model_folder(job.model.uri),
        precision=spec.precision,
        max_completion_tokens=spec.max_completion_tokens,
    )
    answers: list[Answer] = []
    total = len(rows) * len(spec.modes)
    for mode in spec.modes:
        with ClipReader(dataset, rows, ReadPlan(rounds=1)) as reader:
            while clips := list(islice(reader, _CLIPS_AT_A_TIME)):
                write_progress(store, len(answers), total, f"answering, {mode.value}", {})
                answers += _answers(detector, clips, mode)
                _LOG.info("%d of %d answers, %s", len(answers), total, mode.value)
    summary = summarise(answers, spec.bootstrap_samples, spec.seed)
    digest = job.model.digest
    store.write("result.json", to_json(EvaluationResult(model_digest=digest, summary=summary)))
    completion = Completion(
        spec_digest=evaluation_digest(spec, digest, dataset.digest),
        digest=digest or "",
        result="result.json",
        summary=_shown(summary),
    )
    store.write("completion.json", completion.model_dump_json(by_alias=True, indent=1).encode())
    _LOG.info("complete: %s", ", ".join(f"{k} {v:.3f}" for k, v in _accuracies(summary).items()))
    return summary


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


def _shown(summary: Summary) -> dict[str, float | int | str]:
    return dict(_accuracies(summary))


def _accuracies(summary: Summary) -> dict[str, float]:
    """Return the accuracy of each mode that has one, by its key; export them."""
    accuracies = {mode: found.accuracy.value for mode, found in summary.modes.items()}
    for mode, value in accuracies.items():
        if value is not None:
            EVALUATION_ACCURACY.labels(mode.value).set(value)
    return {accuracy_key(mode): value for mode, value in accuracies.items() if value is not None}
