"""AdamW and the schedule of its learning rate."""

from typing import Literal, Self

from pydantic import Field, model_validator

from assay_api.base import MAX_STEPS, Model, check_idle

FLOOR_FIELDS = ("floor",)
FLOOR_ONLY = "with schedule: Cosine"


class Optimizer(Model):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=1e-6, gt=0, lt=1, description="Peak learning rate.")
    schedule: Literal["Constant", "Linear", "Cosine"] = Field(
        default="Constant",
        description="After the warm-up: the peak rate to the end, or from it to zero in a straight "
        "line, or by half a cosine to `floor`.",
    )
    floor: float = Field(
        default=0.0, ge=0, lt=1, description="Cosine: last rate, as a share of the peak."
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=MAX_STEPS,
        description="Steps of linear warm-up: the first has rate 0, the one after them the peak.",
    )
    warmup_ratio: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The same as a share of all steps, rounded up; instead of warmupSteps.",
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
            check_idle(self, FLOOR_FIELDS, FLOOR_ONLY)
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError(
                f"warmupSteps ({self.warmup_steps}) and warmupRatio ({self.warmup_ratio}) say the "
                "same twice: give one of them"
            )
        return self
