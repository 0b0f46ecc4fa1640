"""Format: 0 for a completion in the answer format, -1 for any other."""

from dataclasses import dataclass

from assay_trainer.answers.rule import AnswerRule
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


@dataclass(frozen=True, slots=True)
class FormatReward:
    """Looks for the stage's answer format."""

    answers: AnswerRule

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Score:
        """Return 0 if the whole completion keeps to the answer format, else -1."""
        return Score(0.0 if self.answers.parse(prompt, rollout).well_formed else -1.0)
