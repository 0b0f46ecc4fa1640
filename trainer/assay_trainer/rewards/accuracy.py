"""Accuracy: 1 for the right verdict, else 0."""

from assay_trainer.answers.letter import parse_answer
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


def is_correct(prompt: PromptItem, rollout: Rollout) -> bool:
    """Tell whether the verdict, strictly read, is the truth."""
    return parse_answer(rollout.text).verdict == prompt.label


def accuracy_reward(prompt: PromptItem, rollout: Rollout) -> Score:
    """Return 1 if the verdict, strictly read, is the truth, else 0."""
    return Score(1.0 if is_correct(prompt, rollout) else 0.0)
