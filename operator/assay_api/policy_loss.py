"""The loss of reinforcement learning: which one, its clip, and what is added to it."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import Model, check_idle


class LossType(StrEnum):
    """The policy losses."""

    DAPO = "Dapo"
    GRPO = "Grpo"
    DR_GRPO = "DrGrpo"
    GSPO = "Gspo"
    CISPO = "Cispo"


class KlEstimator(StrEnum):
    """How the KL divergence of a token is estimated."""

    K1 = "K1"
    K2 = "K2"
    K3 = "K3"


class Kl(Model):
    """The distance from the model that the stage started from, as a term of the loss."""

    coefficient: float = Field(gt=0, le=100, description="Factor of the mean divergence in nats.")
    estimator: KlEstimator = Field(
        default=KlEstimator.K3,
        description="Of a token, with d its log-probability less that under the reference. K1: d. "
        "K2: d * d / 2. K3: exp(-d) + d - 1.",
    )
    clamp: float = Field(
        default=10.0, gt=0, le=1000, description="An estimate is no further from 0, in nats."
    )


DUAL_FIELDS = ("dual_clip",)
DUAL_ONLY = "with the losses Dapo, Grpo and DrGrpo"


class Loss(Model):
    """The loss of an optimiser step."""

    type: LossType = Field(
        default=LossType.DAPO,
        description="Dapo: every token of the batch weighs the same. Grpo: every completion. "
        "DrGrpo: every token, divided by the room for completions. Gspo: every completion, its "
        "ratio that of the whole. Cispo: every token, its ratio a bounded weight.",
    )
    clip_low: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Ratio at least 1 - clipLow. Unset: as the loss's paper has it (Dapo, Grpo, "
        "DrGrpo 0.2, Gspo 0.0003, Cispo 1). With one update per batch the ratio is 1 and is never "
        "clipped.",
    )
    clip_high: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description="Ratio at most 1 + clipHigh. Unset: Dapo 0.28, Grpo and DrGrpo 0.2, Gspo "
        "0.0004, Cispo 4.",
    )
    dual_clip: float | None = Field(
        default=None,
        gt=1,
        le=1000,
        description="With a negative advantage a token's loss is at most this times its size. "
        "Unset: no bound.",
    )
    entropy_bonus: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Factor of the mean entropy of the tokens in nats, which the loss is lowered "
        "by.",
    )
    kl: Kl | None = Field(default=None, description="Divergence from the start model; unset: none.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type in (LossType.GSPO, LossType.CISPO):
            check_idle(self, DUAL_FIELDS, DUAL_ONLY)
        return self
