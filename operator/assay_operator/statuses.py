"""The status of each kind of resource, written out from a verdict and the world."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from assay_api import (
    Completion,
    Dataset,
    Evaluation,
    RewardModel,
    TrainingPipeline,
    TrainingStage,
)
from assay_api.base import AttemptRecord, FailureCounts, Status, ThinkingMode
from assay_api.dataset import DatasetStatus
from assay_api.evaluation import EvaluationStatus
from assay_api.layout import accuracy_key
from assay_api.manifests import Resource
from assay_api.pipeline import PipelineStageStatus, TrainingPipelineStatus
from assay_api.references import identify
from assay_api.reward_model import RewardModelStatus
from assay_api.stage import TrainingStageStatus
from assay_operator.conditions import Verdict, conditions, verdict_of
from assay_operator.observed import Attempt, FailureClass, Observed
from assay_operator.policies.attempts import describe_exit, failure_classes
from assay_operator.policies.serving import judge_url
from assay_operator.policies.watching import newest_result

KEPT_ATTEMPTS = 10
"""Ended attempts in a status; of older ones only the number per class is kept."""
_MESSAGE_CHARACTERS = 1024
_TIME_CHARACTERS = 32


def with_verdict(status: Status, verdict: Verdict) -> Status:
    """Return a status that says another verdict, and all else as before."""
    found = conditions(verdict, status.observed_generation)
    return status.model_copy(update={"conditions": found})


def pipeline_status(
    pipeline: TrainingPipeline, verdict: Verdict, stages: Sequence[Status]
) -> TrainingPipelineStatus:
    """Return how far a pipeline is, given the statuses of its stages in order."""
    succeeded = [status.is_true("Succeeded") for status in stages]
    names = [stage.name for stage in pipeline.spec.stages]
    current = succeeded.index(False) if False in succeeded else None
    return TrainingPipelineStatus(
        **_common(pipeline, verdict),
        stage=None if current is None else names[current],
        succeeded=f"{sum(succeeded)}/{len(names)}",
        stages=tuple(
            PipelineStageStatus(
                name=name,
                reason=verdict_of(status).reason,
                model_digest=getattr(status, "model_digest", None),
            )
            for name, status in zip(names, stages, strict=True)
        ),
    )


def dataset_status(dataset: Dataset, verdict: Verdict, observed: Observed) -> DatasetStatus:
    """Return what the dataset became, as far as its completion says."""
    completion = observed.completion(identify(dataset))
    return DatasetStatus(
        **_work(dataset, verdict, observed),
        digest=completion.digest if completion else None,
        num_rows=_count(completion, "numRows"),
        num_dropped=_count(completion, "numDropped"),
    )


def stage_status(stage: TrainingStage, verdict: Verdict, observed: Observed) -> TrainingStageStatus:
    """Return how far the stage is."""
    owner = identify(stage)
    completion, attempts = observed.completion(owner), observed.attempts_of(owner)
    total = stage.spec.total_steps
    return TrainingStageStatus(
        **_work(stage, verdict, observed),
        step=total if completion else (attempts[-1].step if attempts else 0),
        total_steps=total,
        checkpoint=observed.checkpoints.get(owner),
        source_commit=_commit(stage, observed),
        model_digest=completion.digest if completion else None,
        model_uri=observed.url(owner, completion.result) if completion else None,
    )


def evaluation_status(
    evaluation: Evaluation, verdict: Verdict, observed: Observed
) -> EvaluationStatus:
    """Return the evaluation's result in short."""
    found = newest_result(evaluation, observed)
    evaluated_at = found.summary.get("evaluated_at") if found else None
    return EvaluationStatus(
        **_work(evaluation, verdict, observed),
        source_commit=_commit(evaluation, observed),
        model_digest=(found.digest or None) if found else None,
        step=_count(found, "step"),
        evaluated_at=str(evaluated_at)[:_TIME_CHARACTERS] if evaluated_at else None,
        accuracy=_accuracies(found),
        result=observed.url(identify(evaluation), found.result) if found else None,
    )


def reward_model_status(
    judge: RewardModel, verdict: Verdict, observed: Observed
) -> RewardModelStatus:
    """Return where the judge answers, if it does."""
    return RewardModelStatus(
        **_common(judge, verdict),
        url=judge_url(identify(judge), observed),
        source_commit=_commit(judge, observed),
    )


def _commit(resource: TrainingStage | Evaluation | RewardModel, observed: Observed) -> str | None:
    """Return the commit of the model of the Hub that a resource uses, once it is noted."""
    model = resource.spec.model
    pin = observed.pin(identify(resource), model.uri if model else None)
    return pin.commit if pin else None


def _common(resource: Resource, verdict: Verdict) -> dict[str, Any]:
    generation = resource.metadata.generation
    return {
        "observed_generation": generation,
        "conditions": conditions(verdict, generation),
    }


def _work(resource: Resource, verdict: Verdict, observed: Observed) -> dict[str, Any]:
    owner = identify(resource)
    completion, attempts = observed.completion(owner), observed.attempts_of(owner)
    if completion:
        attempts = tuple(attempt for attempt in attempts if attempt.exit_code != 0)
    classes = failure_classes(attempts)
    counts = Counter(str(found) for found in classes if found is not None)
    counts.update({str(c): count for c, count in observed.forgotten.get(owner, {}).items()})
    records = [
        _record(attempt, found, observed)
        for attempt, found in zip(attempts, classes, strict=True)
        if not attempt.live
    ]
    return {
        **_common(resource, verdict),
        "attempt": observed.last_attempt.get(owner, 0),
        "attempts": tuple(records[-KEPT_ATTEMPTS:]),
        "failures": FailureCounts(**counts),
        "spec_digest": completion.spec_digest if completion else None,
    }


def _record(attempt: Attempt, failure: FailureClass | None, observed: Observed) -> AttemptRecord:
    ended = attempt.ended_seconds
    assert ended is not None, "only what has ended is recorded"
    # One machine's clock is monotonic, and tells no time of day.
    at = datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds")
    how = describe_exit(attempt.exit_code) if failure else "stopped"
    message = attempt.message or how
    return AttemptRecord(
        number=attempt.number,
        failure=failure.value if failure else None,
        exit_code=attempt.exit_code,
        message=message[:_MESSAGE_CHARACTERS],
        step=attempt.step,
        ended_at=at if observed.on_cluster else "",
    )


def _count(completion: Completion | None, name: str) -> int | None:
    value = completion.summary.get(name) if completion else None
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _accuracies(completion: Completion | None) -> dict[str, float]:
    found = completion.summary if completion else {}
    values = {mode: found.get(accuracy_key(mode)) for mode in ThinkingMode}
    numbers = {mode: v for mode, v in values.items() if isinstance(v, int | float)}
    # No JSON has a number for what is not finite.
    return {str(mode): float(v) for mode, v in numbers.items() if math.isfinite(v)}
