"""A stage with a reward of the user's own: learned from, logged, and refused in time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from played_engines import PlayedPool
from played_stage import GroupsInTurn, ill_formed, play_stage, right, wrong

from assay_api import EngineError, InvalidInput, ResolvedStageJob
from assay_trainer.loops import rl_job

Orders = Callable[..., ResolvedStageJob]
CODE = """
from assay_trainer.rewards.outcome import Score

def tokens(prompt, rollout):
    assert prompt.row.label in ("real", "fake")
    return Score(rollout.token_ids[0] / 10, {"first": rollout.token_ids[0]})

def broken(samples):
    raise OSError("the table is gone")
"""


@pytest.fixture
def orders(
    played_orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ResolvedStageJob]:
    """Orders of one step whose only reward is a function out of a file in the current folder."""
    (tmp_path / "own.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    rl = {"steps": 1, "promptsPerStep": 2, "groupSize": 2, "maxSamplingRounds": 1}

    def write(function: str, **plugin: object) -> ResolvedStageJob:
        reward = {"type": "Plugin", "plugin": {"name": "Own", "function": function, **plugin}}
        return played_orders(rl=rl, rewards=[reward])

    return write


def test_its_scores_are_learned_from_and_its_numbers_logged(orders: Orders) -> None:
    pool = PlayedPool(GroupsInTurn([right(10), wrong(30)], [wrong(20), right(40)]))
    played = play_stage(orders("own.py:tokens"), pool)

    metrics = played.metrics(1)
    assert (metrics["reward/own"], metrics["reward/mean"]) == (2.5, 2.5)
    assert (metrics["plugin/own_first"], metrics["accuracy/sampled"]) == (25.0, 0.5)


def test_it_may_decide_which_groups_are_learned_from(orders: Orders) -> None:
    job = orders("own.py:tokens", rightAnswers={"metric": "first", "atLeast": 30})
    groups = [ill_formed(10), ill_formed(30)], [right(20), wrong(25)]
    played = play_stage(job, PlayedPool(GroupsInTurn(*groups)))

    (micro_batch,) = played.learner.updates[0]
    assert micro_batch.completions == [[10], [30]]
    assert played.metrics(1)["accuracy/sampled"] == 0.25


def test_a_function_that_always_fails_ends_the_stage_by_name(orders: Orders) -> None:
    pool = PlayedPool(GroupsInTurn([right(1), wrong(2)], [right(3), wrong(4)]))
    with pytest.raises(EngineError, match=r"Own \(own.py:broken\).*OSError: the table is gone"):
        play_stage(orders("own.py:broken"), pool)


def test_what_cannot_be_imported_is_refused_before_ray_is_started(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rl_job, "ray_cluster", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(InvalidInput, match=r"spec\.rewards\[0\]\.plugin\.function: gone:f can't"):
        rl_job.run_rl(orders("gone:f"))
