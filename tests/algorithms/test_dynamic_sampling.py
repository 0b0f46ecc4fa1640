from hypothesis import given
from hypothesis import strategies as st

from assay_api import ThinkingMode
from assay_trainer.algorithms.dynamic_sampling import (
    Acceptance,
    count_acceptance,
    keep_mixed,
    keep_ranked,
    prompts_to_draw,
)
from assay_trainer.records import PromptItem, RolloutGroup, ScoredGroup


def group(
    *correct: bool, rewards: tuple[float, ...] = (), advantages: tuple[float, ...] = ()
) -> ScoredGroup:
    prompt = PromptItem("v1", label="fake", mode=ThinkingMode.THINK, text="", question="")
    return ScoredGroup(
        group=RolloutGroup(prompt=prompt, rollouts=()),
        terms={},
        rewards=rewards,
        correct=correct,
        advantages=advantages,
    )


def test_only_groups_with_both_outcomes_are_kept_in_order() -> None:
    one, other = group(True, False), group(False, False, True)
    assert keep_mixed([one, group(True, True), group(False, False), other]) == (one, other)


def test_correctness_decides_and_not_the_reward() -> None:
    all_wrong = group(False, False, rewards=(-0.3, -0.9))
    all_equal = group(True, False, rewards=(0.5, 0.5))
    assert keep_mixed([all_wrong, all_equal]) == (all_equal,)


def test_ranked_groups_are_kept_whether_or_not_all_are_right() -> None:
    ranked = group(True, True, advantages=(0.7, -0.7))
    assert keep_ranked([group(True, True, advantages=(0.0, 0.0)), ranked]) == (ranked,)


def test_groups_are_counted_by_kind_and_rounds_add_up() -> None:
    groups = [group(True, False), group(True, True), group(False), group(False, False)]
    counted = count_acceptance(groups, num_failed=1)
    assert counted == Acceptance(num_mixed=1, num_all_right=1, num_all_wrong=2, num_failed=1)
    assert (counted.num_sampled, counted.rate) == (5, 0.2)
    assert counted + counted == Acceptance(2, 2, 4, 2)
    assert Acceptance().rate == 0


def test_the_first_round_draws_what_is_wanted() -> None:
    assert prompts_to_draw(Acceptance(), num_wanted=32, num_rounds=0, max_rounds=3) == 32


def test_later_rounds_draw_what_is_missing_by_the_acceptance_seen() -> None:
    quarter = Acceptance(num_mixed=8, num_all_right=24)
    assert prompts_to_draw(quarter, num_wanted=10, num_rounds=1, max_rounds=3) == 8
    third = Acceptance(num_mixed=1, num_all_wrong=2)
    assert prompts_to_draw(third, num_wanted=10, num_rounds=1, max_rounds=3) == 10


counts = st.integers(0, 40)
acceptances = st.builds(Acceptance, counts, counts, counts, counts)


@given(acceptances, st.integers(1, 64), st.integers(0, 5), st.integers(1, 5))
def test_the_budget_holds(so_far: Acceptance, wanted: int, rounds: int, limit: int) -> None:
    drawn = prompts_to_draw(so_far, num_wanted=wanted, num_rounds=rounds, max_rounds=limit)
    done = so_far.num_mixed >= wanted or rounds >= limit
    assert drawn == 0 if done else 1 <= drawn <= wanted


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 64))
def test_a_round_is_large_enough_if_the_acceptance_stays(
    mixed: int, wrong: int, wanted: int
) -> None:
    so_far = Acceptance(num_mixed=mixed, num_all_wrong=wrong)
    drawn = prompts_to_draw(so_far, num_wanted=wanted, num_rounds=1, max_rounds=2)
    if 0 < drawn < wanted:
        assert (drawn - 1) * so_far.rate < wanted - mixed <= drawn * so_far.rate + 1e-9
