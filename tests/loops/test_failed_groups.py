"""Groups that a judge gives no score: asked again, left out at last, and never a number."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from played_engines import PlayedJudge, PlayedPool
from played_stage import GroupsInTurn, Played, play_stage, right, wrong

from assay_api import EngineError, ResolvedStageJob
from assay_trainer.rewards.judges.chat import image_urls
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score

Orders = Callable[..., ResolvedStageJob]
ONE = [right(11, thinking="one"), wrong(12, thinking="not asked about")]
TWO = [wrong(21, thinking="not asked about"), right(22, thinking="two")]
DOWN = Failure("HTTP 503")


def judged_by(**outcomes: Sequence[Outcome]) -> PlayedJudge:
    """A judge with one outcome after another for the reasoning so named, the last one for ever."""
    left = {name: list(given) for name, given in outcomes.items()}

    def rule(text: str) -> Outcome:
        for name, given in left.items():
            if f"<think>{name}</think>" in text:
                return given.pop(0) if len(given) > 1 else given[0]
        return Score(0.5)

    return PlayedJudge(rule)


def play(played_orders: Orders, judge: PlayedJudge, **method: Any) -> Played:
    rl = {"steps": 1, "promptsPerStep": 2, "groupSize": 2, "maxSamplingRounds": 1}
    rewards = [{"type": "Accuracy"}, {"type": "Thinking", "rewardModel": "judge"}]
    job = played_orders(rl=rl | method, rewards=rewards)
    return play_stage(job, PlayedPool(GroupsInTurn(ONE, TWO)), judges={"judge": judge})


def times_asked(judge: PlayedJudge) -> Mapping[str, int]:
    names = ("one", "two", "not asked about")
    return {
        name: sum(f"<think>{name}</think>" in text for _, text, _ in judge.asked) for name in names
    }


def learned(played: Played) -> list[list[int]]:
    (micro_batch,) = played.learner.updates[0]
    return micro_batch.completions


@pytest.mark.parametrize(
    ("outcomes", "times"),
    [
        ({"one": [DOWN, DOWN, Score(0.25)], "two": [Score(0.75)]}, {"one": 3, "two": 1}),
        ({"one": [Score(0.25)], "two": [DOWN, Score(0.75)]}, {"one": 1, "two": 2}),
    ],
    ids=["the first, twice", "the second, once"],
)
def test_a_group_that_failed_is_scored_again_and_keeps_its_place(
    played_orders: Orders, outcomes: Mapping[str, Sequence[Outcome]], times: Mapping[str, int]
) -> None:
    judge = judged_by(**outcomes)
    played = play(played_orders, judge)
    assert times_asked(judge) == {**times, "not asked about": 0}
    assert learned(played) == [[11], [12], [21], [22]]
    metrics = played.metrics(1)
    assert metrics["sampling/failed_groups"] == 0
    assert (metrics["reward/thinking"], metrics["reward/mean"]) == (0.25, 0.75)


def test_one_that_fails_three_times_is_left_out_and_counted(played_orders: Orders) -> None:
    judge = judged_by(one=[DOWN], two=[Score(0.75)])
    played = play(played_orders, judge)
    assert times_asked(judge) == {"one": 3, "two": 1, "not asked about": 0}
    assert learned(played) == [[21], [22]]
    metrics = played.metrics(1)
    assert metrics["sampling/failed_groups"] == 1
    assert metrics["sampling/groups"] == 2
    assert metrics["sampling/acceptance"] == 0.5
    assert (metrics["reward/thinking"], metrics["reward/mean"]) == (0.375, 0.875)


def test_a_step_without_any_score_ends_the_stage_with_the_reason(played_orders: Orders) -> None:
    judge = judged_by(one=[DOWN], two=[DOWN])
    with pytest.raises(EngineError, match=r"no rollout group .* could be scored: HTTP 503"):
        play(played_orders, judge)


def test_an_abstention_leaves_the_term_out_and_is_not_asked_again(played_orders: Orders) -> None:
    judge = judged_by(one=[Abstain("Nonsense")], two=[Score(0.75)])
    played = play(played_orders, judge)
    assert times_asked(judge) == {"one": 1, "two": 1, "not asked about": 0}
    assert learned(played) == [[11], [12], [21], [22]]
    metrics = played.metrics(1)
    assert (metrics["judge/abstained_groups"], metrics["sampling/failed_groups"]) == (1, 0)
    # Of the group that has the term: 0 and 0.75.
    assert (metrics["reward/thinking"], metrics["reward/mean"]) == (0.375, 2.75 / 4)


def test_an_abstention_is_counted_where_another_group_is_scored_again(
    played_orders: Orders,
) -> None:
    judge = judged_by(one=[Abstain("Nonsense")], two=[DOWN, Score(0.75)])
    metrics = play(played_orders, judge).metrics(1)
    assert (metrics["judge/abstained_groups"], metrics["sampling/failed_groups"]) == (1, 0)


def test_the_judge_is_checked_first_and_shown_the_clip_and_the_question(
    played_orders: Orders,
) -> None:
    judge = judged_by(one=[Score(0.5)], two=[Score(0.5)])
    played = play(played_orders, judge)
    assert judge.is_checked and played.pool.is_ready
    ((requests, _),) = played.sampled
    for name, request in zip(("one", "two"), requests, strict=True):
        ((question, _, images),) = [a for a in judge.asked if f"<think>{name}</think>" in a[1]]
        assert question == "Real?"
        assert list(images) == image_urls(played.parts.dataset.frames(request.row_id), 2)
