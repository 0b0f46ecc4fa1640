"""Mode followed: 0 for reasoning when asked and none when not, else -1."""

from assay_api import ThinkingMode
from assay_trainer.answers.letter import parse_answer
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


def mode_followed_reward(prompt: PromptItem, rollout: Rollout) -> Score:
    """Return 0 if the think block is as the thinking mode asks, else -1.

    Thinking off means an empty think block, not a missing one: the answer format demands the tags.
    """
    parsed = parse_answer(rollout.text)
    wants_thinking = prompt.mode is ThinkingMode.THINK
    followed = parsed.thinking is not None and parsed.has_thinking == wants_thinking
    return Score(0.0 if followed else -1.0)
