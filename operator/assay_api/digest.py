"""Digests of resources: two that mean the same have the same."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from assay_api.evaluation import EvaluationSpec
from assay_api.resolved import ResolvedStageJob
from assay_api.stage import TrainingStageSpec


def canonical_json(value: object) -> str:
    """Return the one JSON text of a plain value: keys sorted, no spaces, ASCII only.

    Example:
        >>> canonical_json({"b": 1, "a": [True, None]})
        '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256_of(value: object) -> str:
    """Return the SHA-256, in hexadecimal, of the canonical JSON of a plain value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def spec_digest(model: BaseModel) -> str:
    """Return the SHA-256, in hexadecimal, of a model with its defaults filled in."""
    return sha256_of(model.model_dump(mode="json", by_alias=True))


STAGE_FREE_TO_CHANGE: dict[str, Any] = {
    "retry": True,
    "suspend": True,
    "checkpoint": True,
    "gate": True,
    "tracking": True,
    "pod_template": True,
    "placement": {"pool"},
}
"""Fields of a stage that say when, where and how often it runs, not what comes out."""

EVALUATION_FREE_TO_CHANGE: dict[str, Any] = {"schedule": True, "pool": True}
"""Fields of an evaluation that say when and where it runs."""


def stage_identity(spec: TrainingStageSpec) -> dict[str, Any]:
    """Return the part of a stage's spec that decides what is trained, as plain values."""
    return spec.model_dump(mode="json", by_alias=True, exclude=STAGE_FREE_TO_CHANGE)


def stage_digest(spec: TrainingStageSpec, model: str | None, dataset: str) -> str:
    """Return the `specDigest` of a training stage: what is trained, from which inputs.

    Args:
        spec: the stage's spec; retry, suspend, checkpoint, gate and placement.pool don't count.
        model: digest of the model it starts from, if one is known.
        dataset: digest of the dataset.
    """
    return sha256_of({"spec": stage_identity(spec), "model": model, "dataset": dataset})


def stage_job_digest(job: ResolvedStageJob, dataset: str) -> str:
    """Return the `specDigest` of the stage that a job runs.

    Args:
        job: the orders; they hold the digest of the model.
        dataset: digest of the dataset.
    """
    return stage_digest(job.stage.spec, job.model.digest if job.model else None, dataset)


def evaluation_digest(spec: EvaluationSpec, model: str | None, dataset: str) -> str:
    """Return the `specDigest` of an evaluation; when and where it runs doesn't count.

    Args:
        spec: the evaluation's spec.
        model: digest of the evaluated model, if one is known.
        dataset: digest of the dataset.
    """
    return sha256_of({"spec": evaluation_identity(spec), "model": model, "dataset": dataset})


def evaluation_identity(spec: EvaluationSpec) -> dict[str, Any]:
    """Return the part of an evaluation's spec that decides its result, as plain values."""
    return spec.model_dump(mode="json", by_alias=True, exclude=EVALUATION_FREE_TO_CHANGE)
