"""What a stage's pods have besides what their node pool gives them."""

from typing import Annotated

from pydantic import Field

from assay_api.base import LabelKey, Labels, Model
from assay_api.platform import EnvVar, Toleration


class PodTemplate(Model):
    """What the stage's pods have besides what the node pool gives them. On a cluster only."""

    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Another image of the trainer."
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the pods.")
    annotations: dict[LabelKey, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, max_length=64, description="Their annotations."
    )
    env: tuple[EnvVar, ...] = Field(
        default=(), max_length=64, description="Variables of the containers; no secrets."
    )
    node_selector: Labels = Field(
        default_factory=dict, description="Labels that the node has, besides the pool's."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=32, description="Taints that are put up with, besides the pool's."
    )
    priority_class: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="PriorityClass, instead of the pool's.",
    )
