"""The RL loop when it is asked to stop: the step at hand is saved, once, and nothing after it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay_api import ResolvedStageJob, StopRequest
from assay_api.layout import stop_file
from assay_data.store import Store, open_store
from assay_trainer.checkpoints import Position
from assay_trainer.loops.rl import Leader, RlLoop

STEPS = 5


class FakeCheckpoints:
    """Remembers what was saved."""

    def __init__(self, step: int) -> None:
        self.start = Position(step, step, 2 * step)
        self.saved: list[tuple[int, int, float | None]] = []

    def resume(self) -> Position:
        return self.start

    def save(self, position: Position, score: float | None = None) -> None:
        self.saved.append((position.step, position.cursor, score))


class FakeLearner:
    """One rank."""

    rank, world_size = 0, 1

    def broadcast(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]


class FakeSamplers:
    """Collector, weight sync and validator: nothing is learned, the k-th sampling asks to stop."""

    def __init__(self, at_step: int, ask: Callable[[], None]) -> None:
        self.at_step, self.ask, self.sampled = at_step, ask, 0

    def collect(self, prompts: Sequence[object], cursor: int, clock: object) -> SimpleNamespace:
        self.sampled += 1
        if self.sampled == self.at_step:
            self.ask()
        return SimpleNamespace(groups=(), failures=(), abstentions=())

    def push(self, policy_version: int) -> float:
        return 0.0

    def validate(self) -> dict[str, float]:
        return {"accuracy/held_out_think": 0.75}


def job() -> ResolvedStageJob:
    spec = {
        "model": {"uri": "m"},
        "dataset": "clips",
        "rl": {
            "steps": STEPS,
            "promptsPerStep": 2,
            "maxSamplingRounds": 1,
            "validation": {"every": 3},
        },
        "rewards": [{"type": "Accuracy"}],
        "checkpoint": {"every": 4},
    }
    stage = {"metadata": {"name": "alone", "uid": "u"}, "spec": spec}
    orders = {"stage": stage, "attempt": 1, "model": None, "dataset": "d", "output": "o"}
    return ResolvedStageJob.model_validate(orders)


def run(
    store: Store, at_step: int, start: int = 0
) -> tuple[bool, list[tuple[int, int, float | None]], int]:
    """Run the loop; return whether it finished, what it saved, and how often it sampled."""
    orders, checkpoints = job(), FakeCheckpoints(start)

    def ask() -> None:
        request = StopRequest(uid="u", requested_at=datetime.now(UTC))
        store.write(stop_file(1), request.model_dump_json(by_alias=True).encode())

    if at_step == 0:
        ask()
    samplers = FakeSamplers(at_step, ask)
    parts: Any = SimpleNamespace(
        job=orders,
        stage=orders.stage,
        store=store,
        learner=FakeLearner(),
        dataset=SimpleNamespace(rows=lambda: []),
        checkpoints=lambda: checkpoints,
    )
    prompts: Any = SimpleNamespace(draw=lambda cursor, count: [])
    fakes: Any = samplers
    finished = RlLoop(parts, prompts, Leader(fakes, fakes, fakes)).run()
    return finished, checkpoints.saved, samplers.sampled


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
