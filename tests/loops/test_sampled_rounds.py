"""Rounds of one batch, numbers by hand: quotas, refills, what is learned from, shares by mode."""

import logging
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_prompts import asked

from assay_api import ThinkingMode
from assay_api.stage import Rl
from assay_trainer.algorithms.dynamic_sampling import Acceptance, is_tie, is_usable
from assay_trainer.loops.mode_shares import ModeCounts, ModeWatch, sentences
from assay_trainer.loops.sampled_rounds import SampledRounds
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rewards.scoring import Dropped, Scored

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK


def method(**changes: Any) -> Rl:
    both = {"steps": 4, "promptsPerStep": 4, "groupSize": 2, "modes": ["Think", "NoThink"]}
    return Rl.model_validate({**both, "groupFilter": "Reward", **changes})


def group(mode: ThinkingMode, *rewards: float, correct: tuple[bool, ...] = ()) -> ScoredGroup:
    mean = sum(rewards) / len(rewards)
    rollouts = tuple(Rollout((7,) * 3, (-0.1,) * 3, "", False, 0) for _ in rewards)
    return ScoredGroup(
        group=RolloutGroup(asked("v1", "fake", mode, "", ""), rollouts),
        terms={"Accuracy": tuple(rewards)},
        rewards=rewards,
        correct=correct or tuple(reward > 0 for reward in rewards),
        advantages=tuple(reward - mean for reward in rewards),
    )


def ranked(mode: ThinkingMode) -> ScoredGroup:
    return group(mode, 1.0, 0.0)


def tie(mode: ThinkingMode) -> ScoredGroup:
    return group(mode, 1.0, 1.0)


def scored(*groups: ScoredGroup, failed: tuple[ThinkingMode, ...] = ()) -> Scored:
    dropped = tuple(Dropped(ranked(mode).group, "Thinking", "down") for mode in failed)
    return Scored(groups, dropped, ())


def test_ties_of_a_mode_are_replaced_by_groups_of_that_mode() -> None:
    rounds = SampledRounds(method(), step=0)
    assert rounds.next_modes() == [THINK, NO_THINK, THINK, NO_THINK]
    thinking, first = [ranked(THINK), ranked(THINK)], ranked(NO_THINK)
    rounds.add(scored(thinking[0], tie(NO_THINK), thinking[1], first))
    # One of two is usable and one is missing: two more are asked for.
    assert rounds.next_modes() == [NO_THINK, NO_THINK]
    second, surplus = ranked(NO_THINK), ranked(NO_THINK)
    rounds.add(scored(second, surplus))
    assert rounds.next_modes() == []
    assert list(map(id, rounds.batch())) == list(map(id, [*thinking, first, second]))
    assert rounds.metrics() == {
        "sampling/acceptance": 5 / 6,
        "sampling/acceptance_think": 1.0,
        "sampling/acceptance_no_think": 0.75,
        "sampling/rounds": 2.0,
        "sampling/groups": 6.0,
        "sampling/failed_groups": 0.0,
        "sampling/learned_groups": 4.0,
        "sampling/learned_share_think": 0.5,
        "sampling/learned_share_no_think": 0.5,
        "judge/abstained_groups": 0.0,
        "reward/mean": 7 / 12,
        "reward/accuracy": 7 / 12,
        "accuracy/sampled": 7 / 12,
        "length/mean_tokens": 3.0,
        "length/truncated": 0.0,
    }


def test_after_the_last_round_a_mode_that_lacks_groups_is_not_made_up_for_by_another() -> None:
    rounds = SampledRounds(method(maxSamplingRounds=2), step=0)
    rounds.add(scored(ranked(THINK), tie(NO_THINK), ranked(THINK), tie(NO_THINK)))
    assert rounds.next_modes() == [NO_THINK, NO_THINK]
    rounds.add(scored(tie(NO_THINK), ranked(NO_THINK)))
    assert rounds.next_modes() == []
    assert [one.group.prompt.mode for one in rounds.batch()] == [THINK, THINK, NO_THINK]
    assert rounds.mode_counts() == ModeCounts(
        asked=Counter({THINK: 2, NO_THINK: 2}),
        learned=Counter({THINK: 2, NO_THINK: 1}),
        sampled={
            THINK: Acceptance(num_usable=2),
            NO_THINK: Acceptance(num_usable=1, num_all_right=3),
        },
    )


def test_a_group_without_a_reward_is_replaced_and_counted_in_its_mode() -> None:
    rounds = SampledRounds(method(), step=0)
    rounds.add(scored(ranked(THINK), ranked(NO_THINK), ranked(NO_THINK), failed=(THINK,)))
    assert rounds.next_modes() == [THINK, THINK]
    assert rounds.acceptance() == Acceptance(num_usable=3, num_failed=1)


def test_by_correctness_an_all_right_group_is_replaced_even_if_its_rewards_differ() -> None:
    rounds = SampledRounds(method(groupFilter="Correctness", modes=["Think"]), step=0)
    right = group(THINK, 0.5, 1.0, correct=(True, True))
    rounds.add(scored(right, ranked(THINK), ranked(THINK), ranked(THINK)))
    assert rounds.next_modes() == [THINK, THINK]
    assert right not in rounds.batch()


def test_without_dynamic_sampling_one_round_is_the_batch_with_its_ties() -> None:
    rounds = SampledRounds(method(groupFilter="Correctness", dynamicSampling=False), step=0)
    ranked_right = group(NO_THINK, 0.5, 1.0, correct=(True, True))
    groups = [ranked(THINK), tie(NO_THINK), tie(THINK), ranked_right]
    rounds.add(scored(*groups))
    assert rounds.next_modes() == []
    assert list(map(id, rounds.batch())) == list(map(id, groups))
    assert rounds.acceptance() == Acceptance(num_usable=2, num_all_right=2)
    assert rounds.metrics()["sampling/learned_groups"] == 2.0


def test_a_round_of_ties_only_is_no_batch() -> None:
    rounds = SampledRounds(method(groupFilter="Correctness", dynamicSampling=False), step=0)
    rounds.add(scored(tie(THINK), tie(NO_THINK), tie(THINK), tie(NO_THINK)))
    assert rounds.batch() == ()
    assert "sampling/learned_share_think" not in rounds.metrics()


def test_a_stage_of_one_mode_has_no_shares() -> None:
    rounds = SampledRounds(method(modes=["Think"]), step=0)
    rounds.add(scored(*[ranked(THINK)] * 4))
    assert not [name for name in rounds.metrics() if "think" in name]


def test_steps_go_on_with_the_modes_where_the_last_left_off() -> None:
    three = method(modes=["Think", "Think", "NoThink"])
    asked = [SampledRounds(three, step).next_modes() for step in range(3)]
    assert asked[0] == [THINK, THINK, NO_THINK, THINK]
    assert asked[1] == [THINK, NO_THINK, THINK, THINK]
    assert asked[2] == [NO_THINK, THINK, THINK, NO_THINK]


@settings(deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.floats(0, 1),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from(["Correctness", "Reward"]),
)
def test_whatever_is_sampled_a_batch_keeps_quotas_and_budget_and_is_full_if_it_can_be(
    random: Random, usable: float, wanted: int, limit: int, by: str
) -> None:
    rl = method(promptsPerStep=wanted, maxSamplingRounds=limit, groupFilter=by)
    rounds, num_rounds = SampledRounds(rl, step=3), 0
    asked: Counter[ThinkingMode] = Counter()
    quotas = Counter(rounds.next_modes())
    while modes := rounds.next_modes():
        num_rounds += 1
        asked.update(modes)
        kinds = [ranked if random.random() < usable else tie for _ in modes]
        rounds.add(scored(*[kind(mode) for kind, mode in zip(kinds, modes, strict=True)]))
    found = Counter(g.group.prompt.mode for g in rounds.groups if is_usable(g, rl.group_filter))
    learned = Counter(g.group.prompt.mode for g in rounds.batch())
    assert num_rounds <= limit
    assert not any(map(is_tie, rounds.batch()))
    for mode, quota in quotas.items():
        assert asked[mode] <= limit * quota
        assert learned[mode] == min(found[mode], quota)
        assert learned[mode] == quota or num_rounds == limit


def counts(learned_no_think: int, sampled: Acceptance) -> ModeCounts:
    return ModeCounts(
        asked=Counter({THINK: 8, NO_THINK: 8}),
        learned=Counter({THINK: 8, NO_THINK: learned_no_think}),
        sampled={THINK: Acceptance(num_usable=8), NO_THINK: sampled},
    )


MASTERED = Acceptance(num_usable=2, num_all_right=22)


@pytest.mark.parametrize(
    ("sampled", "changes", "advice"),
    [
        (MASTERED, {}, "raise spec.rl.maxSamplingRounds (3) or give harder clips; a mode that is "),
        (Acceptance(2, 0, 22), {}, "raise spec.rl.maxSamplingRounds (3) or give easier clips; a "),
        (MASTERED, {"dynamicSampling": False}, "that teach nothing: dynamicSampling: true"),
    ],
)
def test_a_mode_far_below_its_share_is_told_with_counts_and_advice(
    sampled: Acceptance, changes: dict[str, Any], advice: str
) -> None:
    (sentence,) = sentences(counts(2, sampled), method(groupFilter="Correctness", **changes))
    assert sentence.startswith(
        "only 20% of the 10 groups learned from are in the mode NoThink, asked for: 50% "
        "(spec.rl.modes). Of 24 groups sampled in it 2 were usable, "
    )
    assert advice in sentence


def test_a_mode_with_half_its_share_is_not_told_of() -> None:
    # 3 of 11 is 27 %, over a quarter; 2 of 10 is 20 %.
    assert sentences(counts(3, MASTERED), method()) == []
    assert len(sentences(counts(2, MASTERED), method())) == 1


def test_shares_are_looked_at_where_validation_is_due_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = ModeWatch(method(steps=7, validation={"every": 3}))
    # Full in all steps but 3, which is below by itself and not with its neighbours; then 4 to 7.
    shares = {3: 2, 4: 0, 5: 1, 6: 0, 7: 1}
    with caplog.at_level(logging.WARNING):
        for step in range(1, 8):
            watch.see(step, counts(shares.get(step, 8), MASTERED))
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "steps 4 to 6: only 4% of the 25 groups l",
        "steps 7 to 7: only 11% of the 9 groups l",
    ]
