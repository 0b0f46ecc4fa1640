"""The RL loop when it is asked to stop: the step at hand is saved, once, and nothing after it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from played_engines import PlayedLearner
from played_rl import (
    RIGHT,
    WRONG,
    PlayedCheckpoints,
    PlayedSamplers,
    group,
    play,
    played_job,
)

from assay_api import StopRequest
from assay_api.layout import stop_file
from assay_data.store import Store, open_store
from assay_trainer.checkpoints import Position
from assay_trainer.records import ScoredGroup

STEPS = 5


def run(
    store: Store, at_step: int, start: int = 0
) -> tuple[bool, list[tuple[int, int, float | None]], int]:
    """Run the loop; return whether it finished, what it saved, and how often it sampled."""
    job = played_job(steps=STEPS, validation={"every": 3})
    spec = job.stage.spec.model_copy(
        update={"checkpoint": job.stage.spec.checkpoint.model_copy(update={"every": 4})}
    )
    job = job.model_copy(update={"stage": job.stage.model_copy(update={"spec": spec})})

    def ask() -> None:
        request = StopRequest(uid="u", requested_at=datetime.now(UTC))
        store.write(stop_file(1), request.model_dump_json(by_alias=True).encode())

    def sampled(number: int) -> Sequence[ScoredGroup]:
        if number == at_step:
            ask()
        return [group(RIGHT, WRONG)] * 2

    if at_step == 0:
        ask()
    checkpoints = PlayedCheckpoints(Position(start, start, 2 * start))
    samplers = PlayedSamplers(sampled)
    finished = play(job, store, checkpoints, samplers, PlayedLearner())
    saved = [(position.step, position.cursor, score) for position, score in checkpoints.saved]
    return finished, saved, samplers.num_sampled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_undisturbed_it_saves_where_that_is_due(store: Store) -> None:
    assert run(store, at_step=99) == (True, [(4, 8, None), (5, 10, 0.75)], 5)


def test_the_step_at_hand_is_ended_and_saved_with_its_score(store: Store) -> None:
    assert run(store, at_step=3) == (False, [(3, 6, 0.75)], 3)


def test_a_step_that_is_saved_anyway_is_saved_once(store: Store) -> None:
    assert run(store, at_step=4) == (False, [(4, 8, None)], 4)


def test_who_is_asked_at_the_last_step_has_finished(store: Store) -> None:
    assert run(store, at_step=5) == (True, [(4, 8, None), (5, 10, 0.75)], 5)


@pytest.mark.parametrize("start", [0, 2])
def test_what_is_asked_before_its_first_step_does_none(store: Store, start: int) -> None:
    assert run(store, at_step=0, start=start) == (False, [], 0)
