"""Manifests' plug-ins, and rollouts that they score."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from made_prompts import asked

from assay_api import ThinkingMode
from assay_api.rewards import Reward
from assay_trainer.answers.rule import LETTER_RULE
from assay_trainer.records import Rollout, RolloutGroup
from assay_trainer.rewards.registry import build_terms
from assay_trainer.rewards.scoring import Scored, score_groups
from assay_trainer.rewards.terms import Term

Module = Callable[[str], str]
"""Writes a module that can be imported, and returns its name."""


def reward(function: str, **plugin: Any) -> Reward:
    return Reward.model_validate(
        {"type": "Plugin", "weight": 2, "plugin": {"name": "Mine", "function": function, **plugin}}
    )


def group(row_id: str, *texts: str, **row: Any) -> RolloutGroup:
    prompt = asked(
        row_id=row_id, label="fake", mode=ThinkingMode.THINK, text="...", question="Is it?"
    )
    return RolloutGroup(
        replace(prompt, row=replace(prompt.row, **row)),
        tuple(Rollout((1,) * len(t), (-0.5,) * len(t), t, False, 0) for t in texts),
    )


def frames(row_id: str) -> Any:
    raise AssertionError(row_id)


def terms_of(*rewards: Reward) -> tuple[Term, ...]:
    return build_terms(rewards, {}, frames, LETTER_RULE)


def settled(groups: Sequence[RolloutGroup], terms: Sequence[Term]) -> Scored:
    return score_groups(groups, terms, std_floor=1e-3, is_correct=LETTER_RULE.is_correct)


def scored(function: str, *groups: RolloutGroup, **plugin: Any) -> Scored:
    return settled(groups, terms_of(reward(function, **plugin)))


ONE = group("v1", "a", "bbb", answer="x", extra={"level": 4})
TWO = group("v2", "cc", "d", answer="y", extra={"level": 5})
