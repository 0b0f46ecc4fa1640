"""One learner process of an RL stage: the temperature it scores at, and what it publishes."""

from collections.abc import Callable
from typing import Any

import pytest
from played_engines import PlayedPool, played_parts
from played_stage import GroupsInTurn, right, wrong

from assay_api import ResolvedStageJob, StopRequest
from assay_api.layout import stop_file
from assay_data.store import open_store
from assay_trainer.loops import rl_learner
from assay_trainer.loops.parts import StageParts


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the parts were built with, and what was published."""
    seen: dict[str, Any] = {"published": []}

    def build(job: ResolvedStageJob, *, temperature: float) -> StageParts:
        seen["temperature"] = temperature
        return played_parts(job)

    monkeypatch.setattr(rl_learner, "build_parts", build)
    monkeypatch.setattr(rl_learner, "publish_model", seen["published"].append)
    monkeypatch.setattr(rl_learner.torch, "set_num_threads", lambda count: None)
    return seen


@pytest.fixture
def job(played_orders: Callable[..., ResolvedStageJob]) -> ResolvedStageJob:
    rl = {"steps": 1, "promptsPerStep": 1, "groupSize": 2, "temperature": 0.6}
    return played_orders(rl=rl, rewards=[{"type": "Accuracy"}])


def pool() -> PlayedPool:
    return PlayedPool(GroupsInTurn([right(2), wrong(3)]))


def test_the_learner_scores_at_the_temperature_of_the_sampler_and_publishes_at_the_end(
    built: dict[str, Any], job: ResolvedStageJob
) -> None:
    assert rl_learner.run_learner(job, pool, threads=1)
    assert built["temperature"] == 0.6
    (parts,) = built["published"]
    assert parts.learner.num_updates == 1


def test_a_stage_that_was_asked_to_stop_publishes_nothing(
    built: dict[str, Any], job: ResolvedStageJob
) -> None:
    request = StopRequest.model_validate({"uid": "u", "requestedAt": "2026-01-01T00:00:00Z"})
    open_store(job.output).write(stop_file(1), request.model_dump_json(by_alias=True).encode())
    assert not rl_learner.run_learner(job, pool, threads=1)
    assert built["published"] == []
