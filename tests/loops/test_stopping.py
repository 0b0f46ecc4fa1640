"""Whether to stop: by request, by signal, agreed among ranks, whatever the store does."""

import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay_api import ResolvedStageJob, StopRequest
from assay_api.errors import StoreError
from assay_api.layout import stop_file
from assay_data.store import FolderStore, open_store
from assay_trainer.loops.stopping import Stop, StopWatch, is_requested

STAGE = {
    "metadata": {"name": "alone", "uid": "uid-1"},
    "spec": {"model": {"uri": "m"}, "dataset": "clips", "sft": {"task": "Judge", "steps": 4}},
}


def job(attempt: int = 2) -> ResolvedStageJob:
    orders = {"stage": STAGE, "attempt": attempt, "model": None, "dataset": "d", "output": "o"}
    return ResolvedStageJob.model_validate(orders)


class FakeRanks(SimpleNamespace):
    """This process's rank, and what the others say."""

    rank: int = 0
    others: tuple[Stop, ...] = ()

    def gather(self, value: Stop) -> list[Stop]:
        return [value, *self.others]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return open_store(str(tmp_path))


def ask(store: FolderStore, attempt: int = 2, uid: str = "uid-1") -> None:
    request = StopRequest(uid=uid, requested_at=datetime.now(UTC))
    store.write(stop_file(attempt), request.model_dump_json(by_alias=True).encode())


@pytest.mark.parametrize(
    ("attempt", "uid", "meant"),
    [(2, "uid-1", True), (1, "uid-1", False), (2, "uid-before", False)],
)
def test_a_request_is_to_one_attempt_of_one_stage(
    store: FolderStore, attempt: int, uid: str, meant: bool
) -> None:
    assert not is_requested(job(), store)
    ask(store, attempt, uid)
    assert is_requested(job(), store) is meant


def test_a_damaged_request_is_none(store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    store.write(stop_file(2), b"{")
    assert not is_requested(job(), store)
    assert "stops/attempt-2.json" in caplog.text


def test_a_store_that_is_away_stops_nothing(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(key: str) -> bool:
        raise StoreError("the server is away")

    ask(store)
    monkeypatch.setattr(store, "exists", fail)
    assert StopWatch(job(), store, FakeRanks()).look() is Stop.NO
    assert "the server is away" in caplog.text


@pytest.mark.parametrize(
    ("rank", "others", "agreed"),
    [
        (0, (), Stop.REQUESTED),
        # Only the rank that leads asks the store; the others are told.
        (1, (Stop.NO,), Stop.NO),
        (1, (Stop.REQUESTED,), Stop.REQUESTED),
        (1, (Stop.SIGNALLED, Stop.NO), Stop.SIGNALLED),
        (0, (Stop.SIGNALLED,), Stop.REQUESTED),
    ],
)
def test_ranks_agree_on_the_greatest(
    store: FolderStore, rank: int, others: tuple[Stop, ...], agreed: Stop
) -> None:
    ask(store)
    assert StopWatch(job(), store, FakeRanks(rank=rank, others=others)).look() is agreed


def test_sigterm_is_noted_only_where_it_is_asked_for(store: FolderStore) -> None:
    before = signal.getsignal(signal.SIGTERM)
    watch = StopWatch(job(), store, FakeRanks())
    with watch.noting_sigterm():
        assert watch.look() is Stop.NO
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.look() is Stop.SIGNALLED
    assert signal.getsignal(signal.SIGTERM) is before


def test_elsewhere_than_in_the_main_thread_signals_stay_as_they_are(store: FolderStore) -> None:
    seen: list[Any] = []
    watch, before = StopWatch(job(), store, FakeRanks()), signal.getsignal(signal.SIGTERM)

    def note() -> None:
        with watch.noting_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=note)
    thread.start()
    thread.join()
    assert seen == [before]
