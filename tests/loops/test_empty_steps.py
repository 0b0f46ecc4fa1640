"""RL that finds nothing to learn from: it ends with the model's answers, and never succeeds."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from played_engines import PlayedLearner, PlayedRanks
from played_rl import (
    RIGHT,
    WRONG,
    PlayedCheckpoints,
    PlayedSamplers,
    group,
    play,
    played_job,
)

from assay_api import NothingToLearnError
from assay_api.stage import GroupFilter
from assay_data.store import Store, open_store
from assay_trainer.algorithms.dynamic_sampling import count_acceptance
from assay_trainer.answers.rule import LETTER_RULE
from assay_trainer.checkpoints import Position
from assay_trainer.loops.answer_form import shown_answers
from assay_trainer.loops.empty_steps import empty_sample, refuse_emptiness
from assay_trainer.records import ScoredGroup

MIXED = [group(RIGHT, WRONG)] * 2
EMPTY = [group("The answer is A.", "It is real."), group(WRONG, WRONG)]
BEGIN = Position(0, 0, 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def run(
    store: Store,
    plan: Sequence[Sequence[ScoredGroup]],
    start: Position = BEGIN,
    **method: object,
) -> tuple[list[Position], NothingToLearnError | None]:
    """Sample as planned from `start` on; return what was saved, and what ended the stage."""
    checkpoints = PlayedCheckpoints(start)
    samplers = PlayedSamplers(lambda number: plan[start.step + number - 1])
    job = played_job(**{"steps": len(plan), "maxEmptySteps": 3, **method})
    error = None
    try:
        assert play(job, store, checkpoints, samplers, PlayedLearner())
    except NothingToLearnError as raised:
        error = raised
    return [position for position, _ in checkpoints.saved], error


def numbers(store: Store, step: int) -> dict[str, float]:
    found: dict[str, float] = json.loads(store.read(f"metrics/step-{step:06d}.json"))
    return found


def test_steps_in_a_row_without_a_usable_group_end_the_stage_with_two_answers(
    store: Store,
) -> None:
    saved, error = run(store, [MIXED, EMPTY, EMPTY, EMPTY, MIXED])
    assert str(error).splitlines() == [
        "steps 2 to 4 found no usable rollout group (spec.rl.maxEmptySteps: 3): the last "
        "checkpoint is kept and no model is published. Of the 2 groups of the last step 0 were "
        "all right, 2 all wrong, 0 without a score; 50% of the answers keep to the answer format. "
        "Two of the answers:",
        '  "The answer is A."',
        '  "It is real."',
        "What to do: the model is too seldom right to learn from its own answers: raise "
        "spec.rl.groupSize or spec.rl.maxSamplingRounds, give easier clips, or put a stage of sft "
        "before this one",
    ]
    assert saved == [Position(1, 1, 2), Position(2, 1, 4, 1), Position(3, 1, 6, 2)]
    assert [numbers(store, step)["sampling/empty_steps"] for step in (1, 2, 3, 4)] == [0, 1, 2, 3]


def test_resumed_anywhere_it_ends_with_the_same_words(store: Store) -> None:
    plan = [MIXED, EMPTY, EMPTY, EMPTY, MIXED]
    saved, error = run(store, plan)
    for position in saved:
        again, later = run(store, plan, start=position)
        assert str(later) == str(error)
        assert again == saved[saved.index(position) + 1 :]


def test_a_step_that_learns_starts_the_count_anew(store: Store) -> None:
    saved, error = run(store, [EMPTY, EMPTY, MIXED, EMPTY, EMPTY])
    assert error is None
    assert [position.empty_steps for position in saved] == [1, 2, 0, 1, 2]
    assert saved[-1].policy_version == 1


def test_a_stage_without_an_optimiser_step_does_not_succeed(store: Store) -> None:
    saved, error = run(store, [EMPTY, EMPTY])
    assert str(error).startswith(
        "none of the 2 steps found a usable rollout group: nothing was learned and no model is "
        "published. Of the 2 groups"
    )
    assert saved == [Position(1, 0, 2, 1)]
    _, resumed = run(store, [EMPTY, EMPTY], start=Position(2, 0, 4, 2))
    assert str(resumed) == (
        "none of the 2 steps found a usable rollout group: nothing was learned and no model is "
        "published."
    )


ONE_ROUND = {"dynamicSampling": False, "maxSamplingRounds": 3}


@pytest.mark.parametrize(
    ("method", "texts", "advice"),
    [
        ({}, (RIGHT, RIGHT), "from right answers too (groupFilter: Reward with the reward"),
        ({}, (WRONG, WRONG), "the model is too seldom right to learn from its own answers"),
        ({"groupFilter": "Reward"}, (RIGHT, RIGHT), "give clips that are harder, or add a reward"),
        (ONE_ROUND, (WRONG, WRONG), "give clips that are easier, or add a reward"),
    ],
)
def test_what_helps_against_ties_depends_on_what_is_learned_from(
    store: Store, method: dict[str, object], texts: tuple[str, str], advice: str
) -> None:
    _, error = run(store, [[group(*texts)] * 2] * 3, **method)
    assert advice in str(error)


def test_all_ranks_stop_at_the_same_step_with_the_same_words(store: Store) -> None:
    ranks = PlayedRanks(2)

    def one(rank: int) -> str:
        checkpoints = PlayedCheckpoints(BEGIN)
        samplers = PlayedSamplers(lambda number: EMPTY)
        job = played_job(steps=9, maxEmptySteps=2)
        with pytest.raises(NothingToLearnError) as raised:
            play(job, store, checkpoints, samplers, PlayedLearner(ranks, rank))
        return str(raised.value)

    told = ranks.run(one)
    assert told[0] == told[1]
    assert told[0].startswith("steps 1 to 2 found no usable rollout group")
    assert '"The answer is A."' in told[0]


ASKING = "Reason in <think> and </think>, answer in <answer> and </answer>."


@pytest.mark.parametrize(
    ("prompt", "advice"),
    [
        ("A or B?", "the prompt does not name <think>, </think>, <answer>, </answer>: ask for"),
        ("Think in <think></think>.", "the prompt does not name <answer>, </answer>: ask for"),
        (ASKING, "the prompt names the tags, but the model does not write <think>REASONING"),
    ],
)
def test_answers_in_another_form_are_told_by_what_the_prompt_asks_for(
    prompt: str, advice: str
) -> None:
    groups = [group("A", "B", prompt=prompt)]
    rl = played_job(steps=9, maxEmptySteps=1).stage.spec.rl
    assert rl is not None
    sample = empty_sample(groups, count_acceptance(groups, GroupFilter.CORRECTNESS), LETTER_RULE)
    with pytest.raises(NothingToLearnError) as raised:
        refuse_emptiness(Position(1, 0, 2, 1), rl, sample)
    assert f"What to do: {advice}" in str(raised.value)
    assert "0% of the answers keep to the answer format" in str(raised.value)


@pytest.mark.parametrize("texts", [[], ["x" * 1000], ["one\ntwo", "three"], ["a"] * 9])
def test_answers_are_shown_on_short_lines_of_their_own(texts: list[str]) -> None:
    shown = shown_answers([(text, False) for text in texts])
    assert len(shown) == min(2, len(set(texts)))
    assert all("\n" not in line and len(line) < 200 for line in shown)


def test_a_long_answer_shows_its_begin_and_its_end() -> None:
    (line,) = shown_answers([("begin " + "x" * 5000 + " so A", False)])
    assert line.startswith('"begin xxx') and line.endswith(' so A"')


def test_judges_are_probed_at_each_start_and_recorded_before_the_first_step(
    store: Store,
) -> None:
    run(store, [MIXED, MIXED])
    assert numbers(store, 0)["judge/probe_agreement"] == 0.5
    assert numbers(store, 0)["accuracy/held_out_think"] == 0.75
    run(store, [MIXED, MIXED, MIXED], start=Position(2, 2, 4))
    assert "judge/probe_agreement" not in numbers(store, 3)
