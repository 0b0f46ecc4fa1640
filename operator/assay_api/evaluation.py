"""Evaluation: a model's accuracy on a dataset, once or on a schedule."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from assay_api.answers import Answer
from assay_api.base import (
    API_VERSION,
    Commit,
    Metadata,
    Model,
    ModelRef,
    Name,
    Seed,
    Split,
    ThinkingMode,
    WorkStatus,
)
from assay_api.prompt import Prompt
from assay_api.schedule import check_schedule


class EvaluationSpec(Model):
    """What is evaluated on what."""

    model: ModelRef = Field(description="The model.")
    dataset: Name = Field(description="Name of the Dataset.")
    split: Split = Field(default=Split.TEST, description="Part of the dataset.")
    modes: tuple[ThinkingMode, ...] = Field(
        default=(ThinkingMode.THINK, ThinkingMode.NO_THINK),
        min_length=1,
        max_length=8,
        description="Thinking modes; each is evaluated on every clip.",
    )
    prompt: Prompt | None = Field(
        default=None, description="What each row is asked; unset: as the model was trained."
    )
    answer: Answer | None = Field(
        default=None,
        description="How answers are written and scored; unset: as the model was trained.",
    )
    samples: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Answers to each row's own question: accuracy is then avg@k, besides pass@k.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Sampling temperature of answers to rows' own questions; 0: the likeliest "
        "tokens.",
    )
    max_clips: int | None = Field(
        default=None, ge=1, le=10_000_000, description="At most this many clips; unset: all."
    )
    max_completion_tokens: int = Field(
        default=750, ge=8, le=32_768, description="Longest answer; longer ones are cut off."
    )
    bootstrap_samples: int = Field(
        default=1000,
        ge=100,
        le=100_000,
        description="Resamples, by video, for the interval of the calibration error.",
    )
    precision: Literal["Float32", "BFloat16"] = Field(
        default="BFloat16", description="Number format of the weights."
    )
    schedule: Annotated[str, Field(max_length=100), AfterValidator(check_schedule)] | None = Field(
        default=None,
        description="Cron schedule on a cluster, in UTC: minute, hour, day of the month, month, "
        "day of the week. Of a stage it evaluates what is new: the finished model, else the newest "
        "checkpoint. Unset: once. On one machine it runs once.",
    )
    pool: str = Field(
        default="default",
        max_length=63,
        description="Node pool that it runs on, by name, of the Helm values. On a cluster only.",
    )
    seed: Seed = Field(
        default=0, description="Seed of the resamples, and of which clips maxClips takes."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples ({self.samples}) would all be the same at temperature 0: set temperature"
            )
        return self


class EvaluationStatus(WorkStatus):
    """The result, in short; the whole is in the store."""

    source_commit: Commit = Field(
        default=None, description="Commit of the model of the Hub that spec.model.uri names."
    )
    model_digest: str | None = Field(default=None, description="Digest of the evaluated model.")
    step: int | None = Field(
        default=None, description="Optimiser steps of the evaluated checkpoint, by a schedule only."
    )
    evaluated_at: str | None = Field(
        default=None,
        max_length=32,
        description="When that was, RFC 3339, by a schedule of a stage only.",
    )
    accuracy: dict[str, float] = Field(
        default_factory=dict, max_length=8, description="Accuracy per mode."
    )
    result: str | None = Field(default=None, description="URL of the whole result.")


class Evaluation(Model):
    """The accuracy of a model on a dataset."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["Evaluation"] = Field(default="Evaluation", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: EvaluationSpec = Field(description="What is wanted.")
    status: EvaluationStatus = Field(default=EvaluationStatus(), description="What is.")
