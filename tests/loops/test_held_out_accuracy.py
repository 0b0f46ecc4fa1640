"""Validation of an RL stage: Test rows only, greedily, in every mode, when it is due."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from played_engines import PlayedJudge, PlayedPool, said
from played_stage import GroupsInTurn, Played, play_stage, right, wrong

from assay_api import ResolvedStageJob
from assay_data.checkpoint_store import CheckpointStore
from assay_trainer.rewards.outcome import Abstain, Outcome, Score
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

Orders = Callable[..., ResolvedStageJob]
HELD_OUT = {f"test-{label}{n}-0" for label in ("real", "fake") for n in range(4)}
MIXED = [right(2), wrong(3)]


class Answering(GroupsInTurn):
    """Trains on mixed groups; greedily it answers every clip by a rule of the request."""

    def __init__(self, rule: Callable[[ClipRequest], str]) -> None:
        super().__init__(*[MIXED] * 99)
        self._rule = rule

    def __call__(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        if plan.temperature == 0:
            return [said(self._rule(request), token_ids=[7])]
        return super().__call__(request, plan)


def real(thinking: str) -> str:
    return f"<think>{thinking}</think><answer>A</answer>"


def fake(thinking: str) -> str:
    return f"<think>{thinking}</think><answer>B</answer>"


def play(
    played_orders: Orders,
    rule: Callable[[ClipRequest], str],
    judges: Mapping[str, PlayedJudge] | None = None,
    rewards: object = ({"type": "Accuracy"},),
    **method: Any,
) -> Played:
    rl = {"steps": 1, "promptsPerStep": 1, "groupSize": 2, "maxCompletionTokens": 30}
    job = played_orders(rl=rl | method, rewards=rewards, checkpoint={"every": 1})
    return play_stage(job, PlayedPool(Answering(rule)), judges=judges)


def test_only_test_rows_are_asked_about_greedily_in_each_mode_once(played_orders: Orders) -> None:
    played = play(played_orders, lambda request: "", modes=["Think", "NoThink", "Think"])
    for requests, plan in played.validated:
        assert plan == SamplingPlan(num_samples=1, max_tokens=30, temperature=0.0)
        by_flag = {
            flag: [request.row_id for request in requests if f"Real? {flag}<" in request.text]
            for flag in ("/think", "/no_think")
        }
        assert len(requests) == 16
        assert set(by_flag["/think"]) == set(by_flag["/no_think"]) == HELD_OUT
        assert {request.seed for request in requests} == {0}
    assert played.validated[0] == played.validated[1]


def test_of_many_rows_as_many_are_asked_of_each_class(played_orders: Orders) -> None:
    played = play(played_orders, lambda request: "", validation={"maxClips": 4})
    rows = [request.row_id for request in played.validated[0][0]]
    assert len(set(rows)) == 4 and set(rows) < HELD_OUT
    assert sum("real" in row for row in rows) == 2


def test_accuracy_form_and_obedience_are_counted_by_mode(played_orders: Orders) -> None:
    """In think mode 7 of 8 are right; in no-think mode 2, 3 are well formed, and 5 obey."""

    def rule(request: ClipRequest) -> str:
        is_real, number = "real" in request.row_id, int(request.row_id[-3])
        if "/no_think" not in request.text:
            return real("hm") if is_real or number == 0 else fake("hm")
        if is_real:
            return [real(""), real(" "), "A", "A"][number]
        loose = "<think></think><answer>fake</answer>"
        return [real("hm"), loose, "<think></think>B", "<think></think>"][number]

    metrics = play(played_orders, rule, modes=["Think", "NoThink"]).metrics(0)
    assert metrics == {
        "accuracy/held_out_think": 7 / 8,
        "well_formed/held_out_think": 1.0,
        "mode/obeyed_think": 1.0,
        "accuracy/held_out_no_think": 2 / 8,
        "well_formed/held_out_no_think": 3 / 8,
        "mode/obeyed_no_think": 5 / 8,
    }


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (5, [0, 3])])
def test_it_is_due_before_the_first_step_every_so_often_and_at_the_end(
    played_orders: Orders, every: int, due: list[int]
) -> None:
    played = play(played_orders, lambda request: real("hm"), steps=3, validation={"every": every})
    found = [step for step in range(4) if "accuracy/held_out_think" in played.metrics(step)]
    assert found == due
    assert len(played.validated) == len(due)


def test_a_checkpoint_has_the_mean_accuracy_of_the_modes_as_its_score(
    played_orders: Orders,
) -> None:
    """All clips are called real when thinking, half of all right; without thinking all are."""

    def rule(request: ClipRequest) -> str:
        if "/no_think" in request.text:
            return real("") if "real" in request.row_id else fake("")
        return real("hm")

    played = play(played_orders, rule, modes=["Think", "NoThink"])
    newest = CheckpointStore(played.parts.store.child("checkpoints")).newest()
    assert newest is not None and newest.score == 0.75


def test_judges_score_the_reasoning_of_think_mode_right_or_wrong(played_orders: Orders) -> None:
    """Real clips get 0.25, half of the fake ones 0.75; of the others there is no score."""

    def rule(request: ClipRequest) -> str:
        if "/no_think" in request.text:
            return real("no thought")
        return real(f"about {request.row_id}")

    def judged(text: str) -> Outcome:
        if "about test-fake2" in text or "about test-fake3" in text:
            return Abstain("Nonsense")
        return Score(0.25 if "about test-real" in text else 0.75)

    judge = PlayedJudge(judged)
    played = play(
        played_orders,
        rule,
        {"judge": judge},
        [{"type": "Accuracy"}, {"type": "Thinking", "rewardModel": "judge"}],
        modes=["Think", "NoThink"],
    )
    assert played.metrics(1)["judge/held_out_mean"] == (4 * 0.25 + 2 * 0.75) / 6
    asked = [text for _, text, _ in judge.asked if "about test" in text]
    assert sorted(asked) == sorted(2 * [real(f"about {row}") for row in HELD_OUT])
    assert not any("no thought" in text for _, text, _ in judge.asked)
