"""Trackers: services that show the numbers of many runs side by side."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import Model, Name

_PLAIN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


class TrackerType(StrEnum):
    """The trackers that Assay can tell."""

    WANDB = "Wandb"
    MLFLOW = "Mlflow"
    TRACKIO = "Trackio"


class Tracker(Model):
    """A tracker that is told a stage's numbers; the run is called after the stage."""

    type: TrackerType = Field(description="Which tracker.")
    project: str = Field(
        default="assay",
        pattern=_PLAIN,
        max_length=64,
        description="Project (MLflow: experiment) that the run belongs to.",
    )
    entity: str | None = Field(
        default=None,
        pattern=_PLAIN,
        max_length=64,
        description="Wandb: user or team that the project belongs to; unset: the key's own.",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@?#]+$",
        max_length=512,
        description="Server, e.g. https://api.wandb.ai, http://mlflow:5000, or a Space, "
        "https://huggingface.co/spaces/OWNER/NAME; unset: offline, into tracking/ of the stage's "
        "folder. Never with a key in it.",
    )
    secret: Name | None = Field(
        default=None,
        description="On a cluster: Secret whose keys WANDB_API_KEY, MLFLOW_TRACKING_TOKEN (or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD), TRACKIO_WRITE_TOKEN or HF_TOKEN "
        "become variables of the learners. Locally these variables are set by the user.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.entity is not None and self.type is not TrackerType.WANDB:
            raise ValueError("entity belongs to the tracker Wandb")
        if self.url is None and (self.entity is not None or self.secret is not None):
            raise ValueError(
                "entity and secret belong to a tracker with a url; without, all stays offline"
            )
        return self


SECRET_KEYS = {
    TrackerType.WANDB: ("WANDB_API_KEY",),
    TrackerType.MLFLOW: (
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    ),
    TrackerType.TRACKIO: ("TRACKIO_WRITE_TOKEN", "HF_TOKEN"),
}
"""Variables that hold a tracker's keys, called the same in a Secret."""
