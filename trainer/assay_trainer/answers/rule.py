"""How a stage or an evaluation reads answers and scores them: format, metric and threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from assay_api.answers import GRADED_METRICS, Answer, FormatName, MetricName
from assay_data.dataset import ClipRow
from assay_trainer.answers.boxed import BoxedFormat
from assay_trainer.answers.free_text import TextFormat
from assay_trainer.answers.letter import LetterFormat
from assay_trainer.answers.metrics.exact_match import exact_match
from assay_trainer.answers.metrics.gsm8k import gsm8k, gsm8k_as_released
from assay_trainer.answers.metrics.halueval import halueval
from assay_trainer.answers.metrics.math_equal import math_equal
from assay_trainer.answers.metrics.math_strings import math_as_released
from assay_trainer.answers.metrics.token_f1 import token_f1, token_f1_as_released
from assay_trainer.answers.parsed import AnswerFormat, Parsed
from assay_trainer.answers.yes_no import YesNoFormat
from assay_trainer.records import PromptItem, Rollout

Metric = Callable[[str, str], float]
"""Compares an answer with the right one; returns a value in [0, 1]."""


def same_label(answer: str, truth: str) -> float:
    """Return 1 for the same label, else 0."""
    return float(answer == truth)


FORMATS: Mapping[FormatName, AnswerFormat] = {
    FormatName.LETTER: LetterFormat(),
    FormatName.YES_NO: YesNoFormat(),
    FormatName.TEXT: TextFormat(),
    FormatName.BOXED: BoxedFormat(),
}
METRICS: Mapping[MetricName, Metric] = {
    MetricName.LABEL: same_label,
    MetricName.EXACT_MATCH: exact_match,
    MetricName.F1: token_f1,
    MetricName.F1_AS_RELEASED: token_f1_as_released,
    MetricName.GSM8K: gsm8k,
    MetricName.GSM8K_AS_RELEASED: gsm8k_as_released,
    MetricName.MATH: math_equal,
    MetricName.MATH_AS_RELEASED: math_as_released,
    MetricName.HALU_EVAL: halueval,
}


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Reads answers and compares them with the truth."""

    format: AnswerFormat
    metric: Metric
    threshold: float
    """Value from which an answer counts as correct."""

    @classmethod
    def of(cls, answer: Answer) -> "AnswerRule":
        """Return the rule that a manifest states."""
        return cls(FORMATS[answer.format], METRICS[answer.metric], answer.threshold)

    @property
    def is_graded(self) -> bool:
        """Whether the metric has values between right and wrong."""
        return self.metric in (METRICS[name] for name in GRADED_METRICS)

    def parse(self, prompt: PromptItem, rollout: Rollout) -> Parsed:
        """Return what a completion says; what the prompt holds of its format belongs to it."""
        return self.format.parse(prompt.opening + rollout.text)

    def value(self, prompt: PromptItem, rollout: Rollout) -> float:
        """Return how right the answer, strictly read, is, in [0, 1]; 0 if it is not well formed."""
        return self.value_of(prompt.row, self.parse(prompt, rollout).verdict)

    def value_of(self, row: ClipRow, verdict: str | None) -> float:
        """Return how right a verdict is, in [0, 1]; 0 for none, and for a row without a truth."""
        truth = self.format.truth(row)
        return 0.0 if verdict is None or truth is None else self.metric(verdict, truth)

    def is_correct(self, prompt: PromptItem, rollout: Rollout) -> bool:
        """Tell whether the answer, strictly read, counts as correct."""
        return self.counts(self.value(prompt, rollout))

    def counts(self, value: float) -> bool:
        """Tell whether a value counts as correct."""
        return value >= self.threshold


LETTER_RULE = AnswerRule.of(Answer())
"""How answers are read and scored where nothing else is said: A is real, B is fake."""
