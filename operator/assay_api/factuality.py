"""How the sentences of a model's reasoning are judged against evidence, and what follows."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import Model, Name, check_idle


class StepRule(StrEnum):
    """What a sentence's verdict does to the advantage of its tokens."""

    FLIP = "Flip"
    AS_RELEASED = "AsReleased"
    MASK_ONLY = "MaskOnly"
    ADDITIVE = "Additive"
    UNCHANGED = "Unchanged"


ADDITIVE_FIELDS = ("additive_weight",)
ADDITIVE_ONLY = "with advantages: Additive"


class Factuality(Model):
    """FSPO: each sentence of the reasoning is checked against the row's evidence.

    A sentence is supported, neutral or contradicted. Rows without evidence, and completions that
    don't keep to the answer format, are learned from as without this.
    """

    verifier: Name = Field(description="Name of the RewardModel that scores pairs of texts.")
    supported_from: float = Field(
        default=0.67,
        ge=0,
        le=1,
        description="Score from which a sentence is supported. FSPO's code has 0.5 for both "
        "limits, and so no neutral sentences; its paper names none.",
    )
    contradicted_below: float = Field(
        default=0.33, ge=0, le=1, description="Score below which a sentence is contradicted."
    )
    advantages: StepRule = Field(
        default=StepRule.FLIP,
        description="What a verdict does to the advantage A of its sentence's tokens. Flip, as in "
        "the paper: |A| if supported, -|A| if contradicted. AsReleased: as FSPO's code, which also "
        "gives |A| to all tokens outside of sentences. MaskOnly: 0 where Flip would change the "
        "sign. Additive: A + additiveWeight, or A - additiveWeight. Unchanged: nothing.",
    )
    additive_weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Additive: what is added, in standard deviations of the group's rewards.",
    )
    reward_weight: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Factor of the mean verdict (1, 0 or -1 a sentence) as a term of the reward; "
        "0: it is none, as in FSPO's code.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.contradicted_below > self.supported_from:
            raise ValueError(
                f"contradictedBelow ({self.contradicted_below}) must be at most supportedFrom "
                f"({self.supported_from}): what lies between them is neutral"
            )
        if self.advantages is not StepRule.ADDITIVE:
            check_idle(self, ADDITIVE_FIELDS, ADDITIVE_ONLY)
        if self.advantages is StepRule.UNCHANGED and self.reward_weight == 0:
            raise ValueError(
                "rewardWeight (0) with advantages: Unchanged: verdicts would change nothing; leave "
                "factuality out"
            )
        return self
