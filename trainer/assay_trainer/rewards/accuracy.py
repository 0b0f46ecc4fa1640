"""Accuracy: how right the answer is, in [0, 1]; 1 or 0 for all metrics but F1."""

from dataclasses import dataclass

from assay_trainer.answers.rule import AnswerRule
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


@dataclass(frozen=True, slots=True)
class AccuracyReward:
    """Compares the answer, strictly read, with the truth by the stage's metric."""

    answers: AnswerRule

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Score:
        """Return the metric's value; 0 for a completion that is not in the answer format."""
        return Score(self.answers.value(prompt, rollout))
