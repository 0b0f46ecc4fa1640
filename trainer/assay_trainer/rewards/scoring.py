"""Adds up the rewards of rollout groups, all terms at the same time."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from assay_trainer.algorithms.advantages import group_advantages
from assay_trainer.records import PromptItem, Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Sample, Score
from assay_trainer.rewards.terms import Term

_LOG = logging.getLogger(__name__)

IsCorrect = Callable[[PromptItem, Rollout], bool]
"""Tells whether a rollout's answer is right."""


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
    terms: Sequence[Term],
    *,
    std_floor: float | None,
    is_correct: IsCorrect,
) -> Scored:
    """Return the groups with their rewards and advantages, in the order given.

    Args:
        groups: what was sampled.
        terms: what is added up; each gets a thread and all rollouts of all groups at once.
        std_floor: least standard deviation of rewards that advantages are divided by; None: they
            are not divided.
        is_correct: which answers are right, unless one of the terms decides it.

    Raises:
        JudgeError: a judge is down.
    """
    samples = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    with ThreadPoolExecutor(max_workers=max(len(terms), 1)) as pool:
        asked = [pool.submit(_outcomes, term, samples) for term in terms]
        columns = [iter(one.result()) for one in asked]
    outcomes = [
        (
            group,
            {
                term.name: tuple(
                    _checked(term, group, rollout, next(column))
                    for rollout in range(len(group.rollouts))
                )
                for term, column in zip(terms, columns, strict=True)
            },
        )
        for group in groups
    ]
    return _settle(terms, outcomes, std_floor, is_correct)


def _outcomes(term: Term, samples: Sequence[Sample]) -> Sequence[Outcome]:
    """Return a term's outcomes of all rollouts."""
    outcomes = term.function(samples) if samples else ()
    assert len(outcomes) == len(samples), f"{term.name}: {len(outcomes)} outcomes"
    return outcomes


def _settle(
    terms: Sequence[Term],
    scored: Sequence[tuple[RolloutGroup, Mapping[str, tuple[Outcome, ...]]]],
    std_floor: float | None,
    is_correct: IsCorrect,
) -> Scored:
    """Return what becomes of the groups, given the outcomes of their rollouts for every term."""
    groups: list[ScoredGroup] = []
    failures: list[Dropped] = []
    abstentions: list[Dropped] = []
    for group, columns in scored:
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
        correct = _right(group, terms, columns, is_correct)
        scored_group = _scored_group(group, weighted, std_floor, correct)
        groups.append(replace(scored_group, metrics=_metrics(columns)))
    return Scored(tuple(groups), tuple(failures), tuple(abstentions))


def _metrics(
    columns: Mapping[str, tuple[Outcome, ...]],
) -> dict[str, tuple[float | None, ...]]:
    """Return the numbers that came with the scores, one column each."""
    return {
        f"{name}/{key}": tuple(
            one.metrics.get(key) if isinstance(one, Score) else None for one in outcomes
        )
        for name, outcomes in columns.items()
        for key in sorted({key for o in outcomes if isinstance(o, Score) for key in o.metrics})
    }


def _right(
    group: RolloutGroup,
    terms: Sequence[Term],
    columns: Mapping[str, tuple[Outcome, ...]],
    is_correct: IsCorrect,
) -> tuple[bool, ...]:
    """Return whose answer is right, by the term that decides it, else by the answer itself."""
    for term in terms:
        if term.is_right is not None:
            scores = [one for one in columns[term.name] if isinstance(one, Score)]
            return tuple(term.is_right(score) for score in scores)
    return tuple(is_correct(group.prompt, rollout) for rollout in group.rollouts)


def _checked(term: Term, group: RolloutGroup, rollout: int, outcome: Outcome) -> Outcome:
    """Return the outcome, or a failure, which is told, where it can't be learned from."""
    prompt = group.prompt
    whose = (
        f"rollout {rollout} of the group of row {prompt.row_id}, mode {prompt.mode.value}: {{}}; "
        "the group is not learned from"
    )
    if isinstance(outcome, Score) and not math.isfinite(term.weight * outcome.value):
        reason = (
            f"the reward {term.name} gave {outcome.value} (weight {term.weight:g}) to "
            + whose.format("a reward must be a finite number")
        )
    elif isinstance(outcome, Abstain) and term.is_right is not None:
        reason = f"the reward {term.name} abstained ({outcome.reason}) from " + whose.format(
            "it decides which answers are right and must not"
        )
    else:
        return outcome
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
    group: RolloutGroup,
    weighted: Mapping[str, tuple[float, ...] | None],
    std_floor: float | None,
    correct: tuple[bool, ...],
) -> ScoredGroup:
    none_given = (None,) * len(group.rollouts)
    given = [values for values in weighted.values() if values is not None]
    rewards = tuple(
        sum((values[index] for values in given), start=0.0) for index in range(len(group.rollouts))
    )
    return ScoredGroup(
        group=group,
        terms={name: none_given if v is None else v for name, v in weighted.items()},
        rewards=rewards,
        correct=correct,
        advantages=group_advantages(rewards, std_floor=std_floor),
    )
