"""Steps that find no usable group: when an RL stage ends because of them, and what it says. Pure.

A step without a usable group takes no optimiser step. Without an end to them a stage would spend
its GPUs on sampling, succeed, and publish the model that it was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from assay_api.errors import NothingToLearnError
from assay_api.stage import GroupFilter, Rl
from assay_trainer.algorithms.dynamic_sampling import Acceptance
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.checkpoints import Position
from assay_trainer.loops.answer_form import (
    LOW_WELL_FORMED,
    form_advice,
    missing_in,
    shown_answers,
)
from assay_trainer.records import ScoredGroup


@dataclass(frozen=True, slots=True)
class EmptySample:
    """What a step without a usable group has sampled."""

    acceptance: Acceptance
    well_formed: float
    """Share of the answers in the answer format; 0 without answers."""
    form_advice: str
    """What to do about answers in another form."""
    answers: tuple[str, ...]
    """Two of the answers, cut to a line each."""


def empty_sample(
    groups: Sequence[ScoredGroup], acceptance: Acceptance, answers: AnswerRule
) -> EmptySample:
    """Return what is told of a step of whose groups none is usable."""
    prompts = {group.group.prompt.text for group in groups}
    said = [
        (rollout.text, answers.parse(group.group.prompt, rollout).well_formed)
        for group in groups
        for rollout in group.group.rollouts
    ]
    return EmptySample(
        acceptance=acceptance,
        well_formed=fmean(well_formed for _, well_formed in said) if said else 0.0,
        form_advice=form_advice(answers.format, missing_in(answers.format, prompts)),
        answers=shown_answers(said),
    )


def refuse_emptiness(position: Position, rl: Rl, sample: EmptySample | None) -> None:
    """Raise where a stage must not go on, or must not succeed, for want of usable groups.

    It depends on the position and the newest step only, so a resumed stage ends as one that was
    not interrupted.

    Args:
        position: after the newest step.
        rl: the stage's method.
        sample: what the newest step has sampled; None: it is not known any more.

    Raises:
        NothingToLearnError: too many steps in a row had no usable group, or the stage came to its
            last step without one.
    """
    if position.empty_steps >= rl.max_empty_steps:
        first = position.step - position.empty_steps + 1
        what = (
            f"steps {first} to {position.step} found no usable rollout group "
            f"(spec.rl.maxEmptySteps: {rl.max_empty_steps})"
        )
    elif position.step == rl.steps and position.policy_version == 0:
        what = f"none of the {position.step} steps found a usable rollout group"
    else:
        return
    kept = "nothing was learned and no model is published"
    if position.policy_version:
        kept = "the last checkpoint is kept and no model is published"
    raise NothingToLearnError(f"{what}: {kept}.{_told(rl, sample) if sample else ''}")


def _told(rl: Rl, sample: EmptySample) -> str:
    counts = sample.acceptance
    lines = [
        f" Of the {counts.num_sampled} groups of the last step {counts.num_all_right} were all "
        f"right, {counts.num_all_wrong} all wrong, {counts.num_failed} without a score; "
        f"{sample.well_formed:.0%} of the answers keep to the answer format. Two of the answers:"
    ]
    lines += [f"  {answer}" for answer in sample.answers]
    return "\n".join([*lines, f"What to do: {_advice(rl, sample)}"])


def _advice(rl: Rl, sample: EmptySample) -> str:
    counts = sample.acceptance
    if sample.well_formed < LOW_WELL_FORMED and counts.num_all_wrong:
        return sample.form_advice
    by_reward = not rl.dynamic_sampling or rl.group_filter is GroupFilter.REWARD
    if counts.num_all_right > counts.num_all_wrong and not by_reward:
        return (
            "the model answers nearly everything right already: give harder clips, or let it learn "
            "from right answers too (groupFilter: Reward with the reward Thinking)"
        )
    if by_reward:
        return (
            "all rewards of a group are equal: give clips that are "
            f"{'harder' if counts.num_all_right > counts.num_all_wrong else 'easier'}, or add a "
            "reward that tells the answers of a group apart"
        )
    return (
        "the model is too seldom right to learn from its own answers: raise spec.rl.groupSize or "
        "spec.rl.maxSamplingRounds, give easier clips, or put a stage of sft before this one"
    )
