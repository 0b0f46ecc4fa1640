"""How answers are written, and how they are compared with the truth."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import Model, check_idle


class FormatName(StrEnum):
    """The ways to write an answer."""

    LETTER = "Letter"
    YES_NO = "YesNo"
    TEXT = "Text"
    BOXED = "Boxed"


class MetricName(StrEnum):
    """The ways to compare an answer with the right one."""

    LABEL = "Label"
    EXACT_MATCH = "ExactMatch"
    F1 = "F1"
    F1_AS_RELEASED = "F1AsReleased"
    GSM8K = "Gsm8k"
    GSM8K_AS_RELEASED = "Gsm8kAsReleased"
    MATH = "Math"
    MATH_AS_RELEASED = "MathAsReleased"
    HALU_EVAL = "HaluEval"


THRESHOLD_FIELDS = ("threshold",)
THRESHOLD_ONLY = "with the metrics F1 and F1AsReleased; the others are 0 or 1"
CLOSED_FORMATS = (FormatName.LETTER, FormatName.YES_NO)
"""Formats with two possible answers, which are compared as labels."""
GRADED_METRICS = (MetricName.F1, MetricName.F1_AS_RELEASED)
"""Metrics with values between 0 and 1."""


class Answer(Model):
    """How answers are read and scored."""

    format: FormatName = Field(
        default=FormatName.LETTER,
        description="How an answer is written, after its reasoning in <think></think>. Letter: A "
        "(real) or B (fake) in <answer></answer>. YesNo: yes or no there. Text: any words there. "
        "Boxed: in \\boxed{} after the reasoning.",
    )
    metric: MetricName = Field(
        default=MetricName.LABEL,
        description="How an answer is compared with the row's. Label: the same, for Letter and "
        "YesNo. ExactMatch, F1: the same words, or the F1 of the words, as HotpotQA counts. Gsm8k: "
        "the same number. Math: equal by math-verify. HaluEval: the same words, or the right word "
        "among them. AsReleased: by the rule of FSPO's code.",
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="F1: an answer of at least this value counts as correct, for dynamic sampling "
        "and accuracy.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.metric is MetricName.LABEL) != (self.format in CLOSED_FORMATS):
            allowed = ", ".join(m.value for m in MetricName if m is not MetricName.LABEL)
            if self.format in CLOSED_FORMATS:
                allowed = MetricName.LABEL.value
            raise ValueError(
                f"metric ({self.metric.value}) doesn't compare answers in the format "
                f"{self.format.value}; allowed: {allowed}"
            )
        if self.metric not in GRADED_METRICS:
            check_idle(self, THRESHOLD_FIELDS, THRESHOLD_ONLY)
        return self
