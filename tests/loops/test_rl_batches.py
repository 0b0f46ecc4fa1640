"""How an RL step fills its batch: as many rounds as the method allows, or one of ranked groups."""

from collections.abc import Callable
from typing import Any

import pytest
from played_engines import PlayedJudge, PlayedPool
from played_stage import GroupsInTurn, play_stage, right, wrong

from assay_api import ResolvedStageJob
from assay_trainer.rewards.outcome import Score

Orders = Callable[..., ResolvedStageJob]
ACCURACY = [{"type": "Accuracy"}]
RIGHT, MIXED = [right(2), right(3)], [right(4), wrong(5)]


def orders(played_orders: Orders, rewards: object = ACCURACY, **method: Any) -> ResolvedStageJob:
    rl = {"steps": 1, "promptsPerStep": 2, "groupSize": 2}
    return played_orders(rl=rl | method, rewards=rewards)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_rounds_are_sampled_than_the_method_allows(
    played_orders: Orders, limit: int
) -> None:
    job = orders(played_orders, maxSamplingRounds=limit)
    script = GroupsInTurn(MIXED, *[RIGHT] * 99)
    played = play_stage(job, PlayedPool(script))
    # One group is missing, of 1 in 2 and then 1 in 4 that are usable; never more than at first.
    assert [len(requests) for requests, _ in played.sampled] == [2] * limit
    assert played.metrics(1)["sampling/acceptance"] == 1 / (2 * limit)
    assert played.metrics(1)["sampling/groups"] == 2 * limit
    assert [m.completions for m in played.learner.updates[0]] == [[[4], [5]]]


def test_later_rounds_do_not_lose_the_groups_of_earlier_ones(played_orders: Orders) -> None:
    job = orders(played_orders, promptsPerStep=3)
    first, second, third = ([right(n), wrong(n + 1)] for n in (10, 20, 30))
    # 1 of 3, then 2 of 6: always three more.
    script = GroupsInTurn(RIGHT, first, RIGHT, RIGHT, RIGHT, second, third, RIGHT, RIGHT)
    played = play_stage(job, PlayedPool(script))
    (micro_batch,) = played.learner.updates[0]
    assert micro_batch.completions == [[10], [11], [20], [21], [30], [31]]
    assert [len(requests) for requests, _ in played.sampled] == [3, 3, 3]


def test_without_dynamic_sampling_right_answers_are_learned_from_by_their_reasoning(
    played_orders: Orders,
) -> None:
    scores = {"good": 0.75, "bad": 0.25}
    judge = PlayedJudge(lambda text: Score(next((v for k, v in scores.items() if k in text), 0.5)))
    rewards = [*ACCURACY, {"type": "Thinking", "rewardModel": "judge"}]
    good, bad = right(2, thinking="good"), right(3, thinking="bad")
    job = orders(played_orders, rewards, dynamicSampling=False)
    script = GroupsInTurn([good, bad], [bad, good])
    played = play_stage(job, PlayedPool(script), judges={"judge": judge})
    assert len(played.sampled) == 1
    (micro_batch,) = played.learner.updates[0]
    assert micro_batch.completions == [[2], [3], [3], [2]]
    # Two values always stand at plus and minus 1 / sqrt(2) of their standard deviation.
    share = 0.5**0.5 / 4
    flat = [value for row in micro_batch.gradients for value in row]
    assert flat == pytest.approx([-share, share, share, -share])
    by_hand = {"reward/mean": 1.5, "reward/accuracy": 1.0, "reward/thinking": 0.5}
    by_hand |= {"sampling/acceptance": 1.0}
    assert {name: played.metrics(1)[name] for name in by_hand} == by_hand


def test_rewards_that_differ_by_little_are_divided_by_the_floor_of_the_method(
    played_orders: Orders,
) -> None:
    judge = PlayedJudge(lambda text: Score(0.75 if "good" in text else 0.25))
    rewards = [*ACCURACY, {"type": "Thinking", "rewardModel": "judge"}]
    group = [right(2, thinking="good"), right(3, thinking="bad")]
    job = orders(played_orders, rewards, dynamicSampling=False, advantageStdFloor=0.5)
    played = play_stage(job, PlayedPool(GroupsInTurn(group, group)), judges={"judge": judge})
    (micro_batch,) = played.learner.updates[0]
    # A quarter from the mean, and the standard deviation is 0.35.
    flat = [value for row in micro_batch.gradients for value in row]
    assert flat == pytest.approx([-0.25 / 0.5 / 4, 0.25 / 0.5 / 4] * 2)


def test_with_dynamic_sampling_right_answers_are_no_use_however_they_reason(
    played_orders: Orders,
) -> None:
    scores = iter([0.1, 0.9] * 99)
    judge = PlayedJudge(lambda text: Score(next(scores)))
    rewards = [*ACCURACY, {"type": "Thinking", "rewardModel": "judge"}]
    job = orders(played_orders, rewards, maxSamplingRounds=1)
    script = GroupsInTurn(RIGHT, MIXED)
    played = play_stage(job, PlayedPool(script), judges={"judge": judge})
    assert [m.completions for m in played.learner.updates[0]] == [[[4], [5]]]


def test_the_policy_version_counts_updates_and_not_steps(played_orders: Orders) -> None:
    job = orders(played_orders, steps=3, promptsPerStep=1, maxSamplingRounds=1)
    script = GroupsInTurn(MIXED, RIGHT, MIXED)
    played = play_stage(job, PlayedPool(script))
    loads = [(weights["layers.0.weight"].item(), v) for weights, v in played.pool.loaded]
    assert loads == [(0, 0), (1, 1), (1, 1), (2, 2)]
    assert [played.metrics(step)["sampling/empty_steps"] for step in (1, 2, 3)] == [0, 1, 0]
    assert "loss" not in played.metrics(2)
    assert [played.metrics(step)["learning_rate"] for step in (1, 3)] == [0.001, 0.002]
