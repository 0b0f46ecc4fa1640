"""TrainingPipeline: stages in order."""

from typing import Literal, Self

from pydantic import Field, model_validator

from assay_api.base import API_VERSION, Metadata, Model, Name, Status
from assay_api.stage import TrainingStageSpec


class PipelineStage(Model):
    """One stage of a pipeline; it becomes the TrainingStage `PIPELINE-NAME`."""

    name: Name = Field(description="Name within the pipeline; `fromStage` refers to it.")
    spec: TrainingStageSpec = Field(description="The stage.")


class TrainingPipelineSpec(Model):
    """The stages; each starts when the one before it has succeeded."""

    stages: tuple[PipelineStage, ...] = Field(
        min_length=1, max_length=32, description="Stages in the order in which they run."
    )

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: names must differ, found {', '.join(names)}")
        return self


class PipelineStageStatus(Model):
    """Where a stage of a pipeline stands."""

    name: str = Field(max_length=63, description="Name within the pipeline.")
    reason: str = Field(max_length=64, description="Why it stands where it stands, as one word.")
    model_digest: str | None = Field(
        default=None, max_length=64, description="Digest of the resulting model, once there is one."
    )


class TrainingPipelineStatus(Status):
    """How far the pipeline is."""

    stage: str | None = Field(
        default=None,
        max_length=63,
        description="The first stage that has not succeeded; unset: all have.",
    )
    succeeded: str = Field(
        default="", max_length=16, description="Stages that have succeeded, of all: 2/5."
    )
    stages: tuple[PipelineStageStatus, ...] = Field(
        default=(), max_length=32, description="Every stage, in order."
    )


class TrainingPipeline(Model):
    """Training stages in order."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["TrainingPipeline"] = Field(default="TrainingPipeline", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: TrainingPipelineSpec = Field(description="What is wanted.")
    status: TrainingPipelineStatus = Field(default=TrainingPipelineStatus(), description="What is.")
