"""Format: 0 for a completion in the answer format, -1 for any other."""

from assay_trainer.answers.letter import parse_answer
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


def format_reward(prompt: PromptItem, rollout: Rollout) -> Score:
    """Return 0 if the whole completion keeps to the answer format, else -1."""
    return Score(0.0 if parse_answer(rollout.text).well_formed else -1.0)
