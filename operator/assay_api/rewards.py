"""The terms of the reward, and which of them can act together."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import Model, Name, ThinkingMode, check_idle
from assay_api.plugin_reward import PluginReward

MAX_COMPLETION_TOKENS = 32_768
"""Longest completion that may be asked for."""


OVERLONG_FIELDS = ("max_tokens", "buffer_tokens")
OVERLONG_ONLY = "in the reward Overlong"


class RewardType(StrEnum):
    """The rewards that ship with Assay, and Plugin for those that do not."""

    FORMAT = "Format"
    ACCURACY = "Accuracy"
    OVERLONG = "Overlong"
    MODE_FOLLOWED = "ModeFollowed"
    THINKING = "Thinking"
    PLUGIN = "Plugin"


class Reward(Model):
    """One term of the reward; the terms are added up."""

    type: RewardType = Field(description="Which reward.")
    weight: float = Field(
        default=1.0, gt=0, le=100, description="Factor of this term; leave out what has none."
    )
    max_tokens: int = Field(
        default=750,
        ge=2,
        le=MAX_COMPLETION_TOKENS,
        description="Overlong: the penalty is -1 beyond this length.",
    )
    buffer_tokens: int = Field(
        default=150,
        ge=1,
        le=MAX_COMPLETION_TOKENS,
        description="Overlong: the penalty grows over this many last tokens.",
    )
    reward_model: Name | None = Field(
        default=None, description="Thinking: name of the RewardModel that judges."
    )
    plugin: PluginReward | None = Field(
        default=None, description="Plugin: the function that scores."
    )

    @property
    def name(self) -> str:
        """What the term is called in metrics and logs."""
        return self.plugin.name if self.plugin else self.type.value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type is RewardType.PLUGIN) != (self.plugin is not None):
            raise ValueError("plugin belongs to, and is required by, the reward Plugin")
        if (self.type is RewardType.THINKING) != (self.reward_model is not None):
            raise ValueError("rewardModel belongs to, and is required by, the reward Thinking")
        if self.type is not RewardType.OVERLONG:
            check_idle(self, OVERLONG_FIELDS, OVERLONG_ONLY)
        if self.buffer_tokens >= self.max_tokens:
            raise ValueError(
                f"bufferTokens ({self.buffer_tokens}) is the length of the ramp before maxTokens "
                f"({self.max_tokens}) and must be smaller"
            )
        return self


def check_rewards(
    rewards: Sequence[Reward], modes: Sequence[ThinkingMode], max_completion_tokens: int
) -> None:
    """Raise ValueError where a reward can't act, or where none is for right answers.

    What a plug-in scores is not known here: it may be right answers.
    """
    types = {reward.type for reward in rewards}
    names = [reward.name for reward in rewards]
    if len(set(names)) != len(names):
        raise ValueError(f"rewards: each type, and each plug-in's name, once, found {names}")
    deciding = [r.name for r in rewards if r.plugin and r.plugin.right_answers]
    if len(deciding) > 1:
        raise ValueError(
            f"rewards: rightAnswers of {' and '.join(deciding)}: one alone can decide which "
            "answers are right"
        )
    for reward in rewards:
        if reward.type is RewardType.OVERLONG and reward.max_tokens > max_completion_tokens:
            raise ValueError(
                f"rewards: maxTokens ({reward.max_tokens}) of Overlong must be at most "
                f"rl.maxCompletionTokens ({max_completion_tokens}): no completion is longer"
            )
    if RewardType.THINKING in types and ThinkingMode.THINK not in modes:
        raise ValueError("rewards: Thinking is 0 in the mode NoThink: rl.modes must have Think")
    all_think = set(modes) == {ThinkingMode.THINK}
    of_thinking = RewardType.THINKING in types and all_think
    if not types & {RewardType.ACCURACY, RewardType.PLUGIN} and not of_thinking:
        raise ValueError(
            "rewards: none is for right answers: add Accuracy (Thinking is one in the mode Think, "
            "and a Plugin may be)"
        )
