"""AdamW and the schedule of its learning rate."""

from typing import Literal, Self

from pydantic import Field, model_validator

from assay_api.base import MAX_STEPS, Model, check_idle

MIN_RATE_FIELDS = ("min_rate",)
MIN_RATE_ONLY = "with schedule: Cosine"
WARMUP_FIELDS = ("warmup_steps",)
WARMUP_ONLY = "without warmupRatio, which says how long the warm-up is"


class Optimizer(Model):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=1e-6, gt=0, lt=1, description="Peak learning rate.")
    schedule: Literal["Constant", "Linear", "Cosine"] = Field(
        default="Constant",
        description="After the warm-up: the peak rate to the end, or from it linearly to zero, or "
        "by half a cosine wave to minRate of it.",
    )
    min_rate: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Cosine: the rate that it falls to, as a share of the peak rate.",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=MAX_STEPS,
        description="Steps of linear warm-up: the first has rate 0, the one after them the peak.",
    )
    warmup_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Instead of warmupSteps: this share of the stage's steps, rounded up.",
    )
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="Decoupled weight decay.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="Decay of the second moment.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, le=1e6, description="L2 norm to which the whole gradient is clipped."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule != "Cosine":
            check_idle(self, MIN_RATE_FIELDS, MIN_RATE_ONLY)
        if self.warmup_ratio is not None:
            check_idle(self, WARMUP_FIELDS, WARMUP_ONLY)
        return self
