from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_prompts import asked

from assay_api import ThinkingMode
from assay_api.stage import GroupFilter
from assay_trainer.algorithms.dynamic_sampling import (
    Acceptance,
    count_acceptance,
    is_tie,
    is_usable,
    modes_in_turn,
    modes_of_next_round,
    num_batch_tokens,
    prompts_to_draw,
    usable_within,
)
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK
CORRECTNESS, REWARD = GroupFilter.CORRECTNESS, GroupFilter.REWARD
TIE, RANKED = (0.0, 0.0), (0.7, -0.7)


def group(
    *correct: bool,
    advantages: tuple[float, ...] = RANKED,
    mode: ThinkingMode = THINK,
    lengths: tuple[int, ...] = (),
) -> ScoredGroup:
    prompt = asked("v1", label="fake", mode=mode, text="", question="")
    rollouts = tuple(Rollout((7,) * n, (-0.1,) * n, "", False, 0) for n in lengths)
    return ScoredGroup(
        group=RolloutGroup(prompt=prompt, rollouts=rollouts),
        terms={},
        rewards=(),
        correct=correct,
        advantages=advantages,
    )


@pytest.mark.parametrize(
    ("one", "by_correctness", "by_reward"),
    [
        (group(True, False), True, True),
        (group(True, True), False, True),
        (group(False, False), False, True),
        (group(True, False, advantages=TIE), False, False),
        (group(True, True, advantages=TIE), False, False),
        (group(False, False, advantages=TIE), False, False),
    ],
    ids=["mixed", "right, ranked", "wrong, ranked", "mixed, tied", "right, tied", "wrong, tied"],
)
def test_a_usable_group_is_no_tie_and_by_correctness_has_both_outcomes(
    one: ScoredGroup, by_correctness: bool, by_reward: bool
) -> None:
    assert (is_usable(one, CORRECTNESS), is_usable(one, REWARD)) == (by_correctness, by_reward)


def test_a_group_is_a_tie_only_if_no_rollout_has_an_advantage() -> None:
    assert is_tie(group(True, False, advantages=(0.0, 0.0, 0.0)))
    assert not is_tie(group(True, False, advantages=(0.0, 0.1, -0.1)))


def test_groups_are_counted_by_kind_and_rounds_add_up() -> None:
    groups = [
        group(True, False),
        group(True, True),
        group(False),
        group(False, False),
        group(True, False, advantages=TIE),
    ]
    counted = count_acceptance(groups, CORRECTNESS, num_failed=3)
    assert counted == Acceptance(
        num_usable=1, num_all_right=1, num_all_wrong=2, num_tied=1, num_failed=3
    )
    assert (counted.num_sampled, counted.rate) == (8, 0.125)
    assert counted + counted == Acceptance(2, 2, 4, 2, 6)
    assert count_acceptance(groups, REWARD) == Acceptance(num_usable=4, num_tied=1)
    assert Acceptance().rate == 0


def test_the_first_round_draws_what_is_wanted() -> None:
    assert prompts_to_draw(Acceptance(), num_wanted=32, num_rounds=0, max_rounds=3) == 32


def test_later_rounds_draw_what_is_missing_by_the_acceptance_seen() -> None:
    quarter = Acceptance(num_usable=8, num_all_right=24)
    assert prompts_to_draw(quarter, num_wanted=10, num_rounds=1, max_rounds=3) == 8
    third = Acceptance(num_usable=1, num_all_wrong=2)
    assert prompts_to_draw(third, num_wanted=10, num_rounds=1, max_rounds=3) == 10
    failed = Acceptance(num_usable=8, num_failed=24)
    assert prompts_to_draw(failed, num_wanted=10, num_rounds=1, max_rounds=3) == 8


counts = st.integers(0, 40)
acceptances = st.builds(Acceptance, counts, counts, counts, counts, counts)


@given(acceptances, st.integers(1, 64), st.integers(0, 5), st.integers(1, 5))
def test_the_budget_holds(so_far: Acceptance, wanted: int, rounds: int, limit: int) -> None:
    drawn = prompts_to_draw(so_far, num_wanted=wanted, num_rounds=rounds, max_rounds=limit)
    done = so_far.num_usable >= wanted or rounds >= limit
    assert drawn == 0 if done else 1 <= drawn <= wanted


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 64))
def test_a_round_is_large_enough_if_the_acceptance_stays(
    usable: int, wrong: int, wanted: int
) -> None:
    so_far = Acceptance(num_usable=usable, num_all_wrong=wrong)
    drawn = prompts_to_draw(so_far, num_wanted=wanted, num_rounds=1, max_rounds=2)
    if 0 < drawn < wanted:
        assert (drawn - 1) * so_far.rate < wanted - usable <= drawn * so_far.rate + 1e-9


def test_a_mode_that_lacks_groups_is_refilled_by_itself() -> None:
    so_far = {
        THINK: Acceptance(num_usable=8),
        NO_THINK: Acceptance(num_usable=2, num_all_right=2),
    }
    quotas = {THINK: 8, NO_THINK: 4}
    assert modes_of_next_round(quotas, so_far, num_rounds=1, max_rounds=3) == [NO_THINK] * 4
    assert modes_of_next_round(quotas, so_far, num_rounds=3, max_rounds=3) == []
    quotas = {THINK: 10, NO_THINK: 3}
    asked = modes_of_next_round(quotas, so_far, num_rounds=1, max_rounds=3)
    assert asked == [THINK] * 2 + [NO_THINK] * 2


many_modes = st.lists(st.sampled_from([THINK, NO_THINK]), min_size=1, max_size=8)


@given(many_modes, st.integers(1, 40), st.integers(0, 30))
def test_batches_one_after_another_ask_for_the_modes_in_their_shares(
    modes: list[ThinkingMode], size: int, step: int
) -> None:
    steps = [modes_in_turn(modes, n * size, size) for n in range(step + 1)]
    asked = Counter(mode for one in steps for mode in one)
    assert all(len(one) == size for one in steps)
    for mode in set(modes):
        expected = asked.total() * modes.count(mode) / len(modes)
        assert abs(asked[mode] - expected) < len(modes)


several = st.lists(
    st.builds(
        group,
        st.booleans(),
        st.booleans(),
        advantages=st.sampled_from([TIE, RANKED]),
        mode=st.sampled_from([THINK, NO_THINK]),
    ),
    max_size=12,
)


@given(several, st.sampled_from(GroupFilter), st.integers(0, 8), st.integers(0, 8))
def test_a_batch_has_the_first_usable_groups_of_each_mode_up_to_its_quota(
    groups: list[ScoredGroup], by: GroupFilter, think: int, no_think: int
) -> None:
    quotas = {THINK: think, NO_THINK: no_think}
    kept = usable_within(groups, by, quotas)
    order = [next(i for i, one in enumerate(groups) if one is found) for found in kept]
    assert order == sorted(set(order))
    for mode, quota in quotas.items():
        usable = [g for g in groups if g.group.prompt.mode is mode and is_usable(g, by)]
        of_mode = [g for g in kept if g.group.prompt.mode is mode]
        assert [id(g) for g in of_mode] == [id(g) for g in usable[:quota]]


@given(several, st.sampled_from(GroupFilter), st.integers(0, 9))
def test_what_is_sampled_adds_up(groups: list[ScoredGroup], by: GroupFilter, failed: int) -> None:
    counted = count_acceptance(groups, by, failed)
    assert counted.num_sampled == len(groups) + failed
    assert counted.num_usable == len(usable_within(groups, by, {THINK: 40, NO_THINK: 40}))


def test_the_tokens_of_ties_count_in_what_the_loss_is_divided_by() -> None:
    ranked = group(True, False, lengths=(5, 3))
    tie = group(True, True, advantages=TIE, lengths=(4, 4))
    assert num_batch_tokens([ranked]) == 8
    assert num_batch_tokens([ranked, tie, ranked]) == 24
