"""What an RL stage asks about: Train rows, each in turn, in its modes, each with its own seed."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from played_engines import PlayedPool
from played_stage import GroupsInTurn, Played, play_stage, right, wrong

from assay_api import ResolvedStageJob
from assay_trainer.rollout.sampler import ClipRequest
from assay_trainer.rollout_log import read_rollouts

Orders = Callable[..., ResolvedStageJob]
MIXED = [right(2), wrong(3)]
NUM_TRAIN, STEPS = 8, 4


def orders(played_orders: Orders, seed: int = 0, **method: Any) -> ResolvedStageJob:
    """Return orders of four steps that each ask about half of the Train rows."""
    rl = {"steps": STEPS, "promptsPerStep": 4, "groupSize": 2, "maxSamplingRounds": 1}
    return played_orders(
        rl=rl | method, rewards=[{"type": "Accuracy"}], checkpoint={"every": 1}, seed=seed
    )


def requests(played: Played) -> list[ClipRequest]:
    return [request for asked, _ in played.sampled for request in asked]


def play(job: ResolvedStageJob, num_groups: int = 4 * STEPS) -> Played:
    return play_stage(job, PlayedPool(GroupsInTurn(*[MIXED] * num_groups)))


def test_each_train_row_is_asked_about_once_a_round_in_a_new_order(played_orders: Orders) -> None:
    asked = [request.row_id for request in requests(play(orders(played_orders)))]
    train = {f"train-{label}{n}-0" for label in ("real", "fake") for n in range(4)}
    first, second = asked[:NUM_TRAIN], asked[NUM_TRAIN:]
    assert set(first) == set(second) == train
    assert len(first) == len(second) == NUM_TRAIN
    assert first != second
    assert first != sorted(first)


def test_the_modes_of_the_method_are_asked_for_and_logged(played_orders: Orders) -> None:
    played = play(orders(played_orders, modes=["Think", "Think", "NoThink", "Think"]))
    endings = Counter(request.text.partition("Real? ")[2] for request in requests(played))
    tail = "<|im_end|>\n<|im_start|>assistant\n"
    assert endings == {f"/think{tail}": 12, f"/no_think{tail}": 4}
    logged = [group for step in range(1, 5) for group in read_rollouts(played.parts.store, step)]
    for request, group in zip(requests(played), logged, strict=True):
        assert group.prompt == request.text
        assert group.mode.value == ("NoThink" if "/no_think" in request.text else "Think")


def test_every_prompt_has_a_seed_of_its_own(played_orders: Orders) -> None:
    job = orders(played_orders, maxSamplingRounds=2)
    all_right = [right(4), right(5)]
    # The first step has two rounds: half of the first is no use.
    groups = [MIXED, MIXED, all_right, all_right, *[MIXED] * 16]
    played = play_stage(job, PlayedPool(GroupsInTurn(*groups)))
    assert [len(asked) for asked, _ in played.sampled] == [4, 4, 4, 4, 4]
    assert len({request.seed for request in requests(played)}) == 20


def test_the_same_stage_asks_the_same_and_another_seed_something_else(
    played_orders: Orders,
) -> None:
    one, again, other = (requests(play(orders(played_orders, seed))) for seed in (3, 3, 4))
    assert one == again
    assert [request.row_id for request in one] != [request.row_id for request in other]
    assert {request.seed for request in one}.isdisjoint(request.seed for request in other)


def test_a_resumed_stage_asks_what_one_without_interruption_asks(played_orders: Orders) -> None:
    whole = requests(play(orders(played_orders)))
    job = orders(played_orders)
    with pytest.raises(LookupError, match="no group is left"):
        play(job, num_groups=9)  # It breaks in the third step.
    resumed = play(job)
    assert requests(resumed) == whole[8:]
    assert [version for _, version in resumed.pool.loaded] == [2, 3, 4]
    assert resumed.learner.num_updates == STEPS
