"""The rewards by the name that a manifest gives them; one that ships is a line in BUILDERS."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import UInt8

from assay_api import InvalidInput
from assay_api.plugin_reward import PluginReward
from assay_api.rewards import Reward, RewardType
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.rewards.accuracy import AccuracyReward
from assay_trainer.rewards.format import FormatReward
from assay_trainer.rewards.judges.chat import image_urls
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.mode_followed import ModeFollowedReward
from assay_trainer.rewards.outcome import (
    BatchRewardFunction,
    Outcome,
    RewardFunction,
    Sample,
    Score,
)
from assay_trainer.rewards.overlong import OverlongReward
from assay_trainer.rewards.plugins.calls import Call, how_to_call
from assay_trainer.rewards.plugins.load import load_function
from assay_trainer.rewards.plugins.running import PluginFunction
from assay_trainer.rewards.terms import Term, one_by_one
from assay_trainer.rewards.thinking import ThinkingReward

Frames = Callable[[str], UInt8[np.ndarray, "frame height width 3"]]
"""Returns the frames of a dataset row, by its identifier."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rewards may need of the stage besides their own fields."""

    judges: Mapping[str, Judging]
    """By name of the RewardModel."""
    frames: Frames
    answers: AnswerRule
    """How answers are read and scored."""


def build_terms(
    rewards: Sequence[Reward],
    judges: Mapping[str, Judging],
    frames: Frames,
    answers: AnswerRule,
) -> tuple[Term, ...]:
    """Return the terms that the rewards stand for.

    Args:
        rewards: the terms to add up, each name at most once.
        judges: by name of the RewardModel, for the rewards that need one.
        frames: returns the frames of a row; called at most once per row, judge and step.
        answers: how answers are read and scored.

    Raises:
        InvalidInput: a reward is given twice, or names a RewardModel or a function that is not
            there.
    """
    around = Surroundings(judges, frames, answers)
    terms: dict[str, Term] = {}
    for index, reward in enumerate(rewards):
        field, name = f"spec.rewards[{index}]", reward.name
        if name in terms:
            raise InvalidInput(
                f"{field}.type: {name} is given twice; give each type once and merge the weights"
            )
        terms[name] = BUILDERS[reward.type](field, name, reward, around)
    return tuple(terms.values())


def _thinking(field: str, name: str, reward: Reward, around: Surroundings) -> Term:
    judge = around.judges.get(reward.reward_model or "")
    if judge is None:
        raise InvalidInput(
            f"{field}.rewardModel: there is no RewardModel {reward.reward_model!r}; there is "
            f"{', '.join(sorted(around.judges)) or 'none'}"
        )

    def outcomes_of(samples: Sequence[Sample]) -> Sequence[Outcome]:
        # Pictures are kept for one step: a row is asked about once in many.
        shown = _shown_once(around.frames, judge.spec.num_frames)
        one = ThinkingReward(judge, shown, around.answers)
        return one_by_one(one, num_workers=judge.spec.concurrency)(samples)

    return Term(name, reward.weight, outcomes_of)


def _shown_once(frames: Frames, num_shown: int) -> Callable[[str], Sequence[str]]:
    """Return a function from row to images that decodes and encodes each row once."""
    lock = threading.Lock()

    @cache
    def encode(row_id: str) -> tuple[str, ...]:
        return tuple(image_urls(frames(row_id), num_shown)) if num_shown else ()

    def shown(row_id: str) -> tuple[str, ...]:
        # A group's rollouts ask for the same row at the same time.
        with lock:
            return encode(row_id)

    return shown


def check_plugins(rewards: Sequence[Reward]) -> None:
    """Import every function that the rewards name, before anything is started for them.

    Raises:
        InvalidInput: one can't be imported, or can't be called as its convention says.
    """
    for index, reward in enumerate(rewards):
        if reward.plugin is not None:
            _call_of(f"spec.rewards[{index}]", reward.plugin)


def _call_of(field: str, plugin: PluginReward) -> Call:
    place = f"{field}.plugin.function"
    return how_to_call(place, plugin, load_function(place, plugin.function))


def _plugin(field: str, name: str, reward: Reward, around: Surroundings) -> Term:
    plugin = reward.plugin
    assert plugin is not None
    right = plugin.right_answers
    metric = right.metric if right else None
    function = PluginFunction(
        f"the reward {name} ({plugin.function})",
        _call_of(field, plugin),
        plugin.timeout_seconds,
        metric,
    )

    def is_right(score: Score) -> bool:
        assert right is not None
        return (score.metrics[metric] if metric else score.value) >= right.at_least

    return Term(name, reward.weight, function, is_right if right else None)


Builder = Callable[[str, str, Reward, Surroundings], Term]
"""Makes a term of its place in the manifest, its name, its fields and its surroundings."""


def _plain(make: Callable[[Reward], BatchRewardFunction]) -> Builder:
    """Return the builder of a reward that needs nothing but its own fields."""
    return lambda field, name, reward, around: Term(name, reward.weight, make(reward))


def _of_answers(make: Callable[[AnswerRule], RewardFunction]) -> Builder:
    """Return the builder of a reward that reads answers."""
    return lambda field, name, reward, around: Term(
        name, reward.weight, one_by_one(make(around.answers))
    )


BUILDERS: Mapping[RewardType, Builder] = {
    RewardType.FORMAT: _of_answers(FormatReward),
    RewardType.ACCURACY: _of_answers(AccuracyReward),
    RewardType.MODE_FOLLOWED: _of_answers(ModeFollowedReward),
    RewardType.OVERLONG: _plain(
        lambda reward: one_by_one(OverlongReward(reward.max_tokens, reward.buffer_tokens))
    ),
    RewardType.THINKING: _thinking,
    RewardType.PLUGIN: _plugin,
}
