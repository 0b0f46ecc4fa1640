"""Which policy loss a stage of RL minimises."""

from enum import StrEnum

from pydantic import Field

from assay_api.base import Model


class LossType(StrEnum):
    """How tokens of a batch are weighed against each other."""

    DAPO = "Dapo"
    GRPO = "Grpo"
    DR_GRPO = "DrGrpo"


class AdvantageStd(StrEnum):
    """Which standard deviation of rewards advantages are divided by."""

    GROUP = "Group"
    NONE = "None"


NO_STD_FIELDS = ("advantage_std_floor",)
NO_STD_ONLY = "with loss.advantageStd: Group; without, there is no deviation to divide by"


class Loss(Model):
    """Policy loss and what its advantages are divided by."""

    type: LossType = Field(
        default=LossType.DAPO,
        description="Dapo: all tokens of the batch weigh the same. Grpo: all completions do, "
        "whatever their length. DrGrpo: the sum over tokens, divided by completions times "
        "maxCompletionTokens; its paper has it with advantageStd: None.",
    )
    advantage_std: AdvantageStd = Field(
        default=AdvantageStd.GROUP,
        description="Advantages are rewards less their group's mean, divided by: Group, the "
        "group's standard deviation; None, nothing.",
    )
