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


class TrainingPipeline(Model):
    """Training stages in order."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["TrainingPipeline"] = Field(default="TrainingPipeline", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: TrainingPipelineSpec = Field(description="What is wanted.")
    status: Status = Field(default=Status(), description="What is.")
