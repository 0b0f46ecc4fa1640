"""Adds up the rewards of rollout groups, with every question to a judge in flight at once."""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import UInt8

from assay_api import InvalidInput
from assay_api.rewards import Reward, RewardType
from assay_trainer.algorithms.advantages import group_advantages
from assay_trainer.records import PromptItem, Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rewards.accuracy import accuracy_reward, is_correct
from assay_trainer.rewards.format import format_reward
from assay_trainer.rewards.judges.chat import image_urls
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.mode_followed import mode_followed_reward
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, RewardFunction, Score
from assay_trainer.rewards.overlong import OverlongReward
from assay_trainer.rewards.thinking import ThinkingReward

_LOG = logging.getLogger(__name__)

Frames = Callable[[str], UInt8[np.ndarray, "frame height width 3"]]
"""Returns the frames of a dataset row, by its identifier."""


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of the reward."""

    name: str
    weight: float
    function: RewardFunction


@dataclass(frozen=True, slots=True)
class Dropped:
    """A reward that has no value for a group, and why."""

    group: RolloutGroup
    reward: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a batch of groups. Each list keeps the order of the groups."""

    groups: tuple[ScoredGroup, ...]
    """Groups with their rewards."""
    failures: tuple[Dropped, ...]
    """Groups without, because a reward failed: to be sampled or scored again."""
    abstentions: tuple[Dropped, ...]
    """Terms that were left out of a group's rewards because one of its rollouts got none."""


def score_groups(
    groups: Sequence[RolloutGroup],
    rewards: Sequence[Reward],
    judges: Mapping[str, Judging],
    frames: Frames,
    *,
    std_floor: float,
) -> Scored:
    """Return the groups with their rewards and advantages, in the order given.

    Rollouts are scored in as many threads as every judge allows requests in flight.

    Args:
        groups: what was sampled.
        rewards: the terms to add up, each type at most once.
        judges: by name of the RewardModel, for the rewards that need one.
        frames: returns the frames of a row; called at most once per row and judge.
        std_floor: least standard deviation of rewards that advantages are divided by.

    Raises:
        InvalidInput: a reward is given twice, or names a RewardModel that is not there.
        JudgeError: a judge is down.
    """
    terms = build_terms(rewards, judges, frames)
    num_workers = min((judge.spec.concurrency for judge in judges.values()), default=1)
    rollouts = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]

    def outcomes_of(pair: tuple[PromptItem, Rollout]) -> tuple[Outcome, ...]:
        return tuple(term.function(*pair) for term in terms)

    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        rows = iter(list(pool.map(outcomes_of, rollouts)))
    return _settle(
        terms, [(group, [next(rows) for _ in group.rollouts]) for group in groups], std_floor
    )


def build_terms(
    rewards: Sequence[Reward], judges: Mapping[str, Judging], frames: Frames
) -> tuple[Term, ...]:
    """Return the terms that the rewards stand for.

    Raises:
        InvalidInput: a reward is given twice, or names a RewardModel that is not there.
    """
    terms: dict[str, Term] = {}
    for index, reward in enumerate(rewards):
        name = reward.type.value
        if name in terms:
            raise InvalidInput(
                f"spec.rewards[{index}].type: {name} is given twice; give each type once and "
                "merge the weights"
            )
        terms[name] = Term(name, reward.weight, _function(index, reward, judges, frames))
    return tuple(terms.values())


def _function(
    index: int, reward: Reward, judges: Mapping[str, Judging], frames: Frames
) -> RewardFunction:
    match reward.type:
        case RewardType.FORMAT:
            return format_reward
        case RewardType.ACCURACY:
            return accuracy_reward
        case RewardType.MODE_FOLLOWED:
            return mode_followed_reward
        case RewardType.OVERLONG:
            return OverlongReward(reward.max_tokens, reward.buffer_tokens)
        case RewardType.THINKING:
            judge = judges.get(reward.reward_model or "")
            if judge is None:
                raise InvalidInput(
                    f"spec.rewards[{index}].rewardModel: there is no RewardModel "
                    f"{reward.reward_model!r}; there is {', '.join(sorted(judges)) or 'none'}"
                )
            return ThinkingReward(judge, _shown_once(frames, judge.spec.num_frames))


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


def _settle(
    terms: Sequence[Term],
    scored: Sequence[tuple[RolloutGroup, Sequence[tuple[Outcome, ...]]]],
    std_floor: float,
) -> Scored:
    """Return what becomes of the groups, given the outcome of every rollout for every term."""
    groups: list[ScoredGroup] = []
    failures: list[Dropped] = []
    abstentions: list[Dropped] = []
    for group, rows in scored:
        columns = {
            term.name: tuple(
                _finite(term, group, rollout, row[index]) for rollout, row in enumerate(rows)
            )
            for index, term in enumerate(terms)
        }
        failed = _dropped(group, columns, Failure)
        if failed:
            failures.append(failed[0])
            continue
        abstained = _dropped(group, columns, Abstain)
        abstentions.extend(abstained)
        left_out = {dropped.reward for dropped in abstained}
        weighted = {
            term.name: None if term.name in left_out else _weighted(term, columns[term.name])
            for term in terms
        }
        groups.append(_scored_group(group, weighted, std_floor))
    return Scored(tuple(groups), tuple(failures), tuple(abstentions))


def _finite(term: Term, group: RolloutGroup, rollout: int, outcome: Outcome) -> Outcome:
    """Return the outcome; a value that is no finite number is a failure, and is told."""
    if not isinstance(outcome, Score) or math.isfinite(term.weight * outcome.value):
        return outcome
    prompt = group.prompt
    reason = (
        f"the reward {term.name} gave {outcome.value} (weight {term.weight:g}) to rollout "
        f"{rollout} of the group of row {prompt.row_id}, mode {prompt.mode.value}: a reward must "
        "be a finite number; the group is not learned from"
    )
    _LOG.error("%s", reason)
    return Failure(reason)


def _dropped(
    group: RolloutGroup,
    columns: Mapping[str, tuple[Outcome, ...]],
    kind: type[Abstain] | type[Failure],
) -> list[Dropped]:
    """Return the rewards that have an outcome of this kind, each with its first reason."""
    found = {
        name: next((o.reason for o in outcomes if isinstance(o, kind)), None)
        for name, outcomes in columns.items()
    }
    return [Dropped(group, name, reason) for name, reason in found.items() if reason is not None]


def _weighted(term: Term, outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    return tuple(term.weight * o.value for o in outcomes if isinstance(o, Score))


def _scored_group(
    group: RolloutGroup, weighted: Mapping[str, tuple[float, ...] | None], std_floor: float
) -> ScoredGroup:
    none_given = (None,) * len(group.rollouts)
    given = [values for values in weighted.values() if values is not None]
    rewards = tuple(sum(values[index] for values in given) for index in range(len(group.rollouts)))
    return ScoredGroup(
        group=group,
        terms={name: none_given if v is None else v for name, v in weighted.items()},
        rewards=rewards,
        correct=tuple(is_correct(group.prompt, rollout) for rollout in group.rollouts),
        advantages=group_advantages(rewards, std_floor=std_floor),
    )
