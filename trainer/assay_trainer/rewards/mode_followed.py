"""Mode followed: 0 for reasoning when asked and none when not, else -1."""

from dataclasses import dataclass

from assay_api import ThinkingMode
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


@dataclass(frozen=True, slots=True)
class ModeFollowedReward:
    """Compares the think block with the thinking mode that was asked for.

    Thinking off means an empty think block, not a missing one: answer formats demand the tags.
    """

    answers: AnswerRule

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Score:
        """Return 0 if the think block is as the thinking mode asks, else -1."""
        parsed = self.answers.parse(prompt, rollout)
        wants_thinking = prompt.mode is ThinkingMode.THINK
        followed = parsed.thinking is not None and parsed.has_thinking == wants_thinking
        return Score(0.0 if followed else -1.0)
