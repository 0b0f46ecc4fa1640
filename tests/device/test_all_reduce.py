"""Whether learners reach each other is found out at their start, within a short time."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch

from assay_api import EngineLostError
from assay_trainer.learner.all_reduce import check_all_reduce, try_all_reduce


def test_processes_that_reach_each_other_pass() -> None:
    assert try_all_reduce(2, timeout_seconds=60) > 0


def test_processes_that_do_not_reach_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # They inherit it: no network has this name.
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "assay-none")
    with pytest.raises(EngineLostError, match=r"learner \d of 2 did not meet the others"):
        try_all_reduce(2, timeout_seconds=30)


def join(rank: int, file: Path) -> None:
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{file}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )


def join_and_stay_away(file: Path, ended: Event) -> None:
    """Be a learner that never comes to the all-reduce."""
    join(1, file)
    ended.wait(120)


def meet(file: Path) -> tuple[str, float]:
    """Be the learner that comes; return what it is told, and after how many seconds."""
    join(0, file)
    began = time.monotonic()
    try:
        check_all_reduce(timeout_seconds=2)
    except EngineLostError as error:
        return str(error), time.monotonic() - began
    return "", time.monotonic() - began


def test_a_learner_that_does_not_come_is_told_long_before_the_collectives_own_limit(
    tmp_path: Path,
) -> None:
    context, file = multiprocessing.get_context("spawn"), tmp_path / "rendezvous"
    ended = context.Event()
    other = context.Process(target=join_and_stay_away, args=(file, ended))
    other.start()
    try:
        # A process of its own: this one may be in a group already, by a test before.
        with ProcessPoolExecutor(1, context) as pool:
            told, seconds = pool.submit(meet, file).result(timeout=120)
    finally:
        ended.set()
        other.join(60)
    assert told.startswith("learner 0 of 2: the all-reduce by gloo")
    assert seconds < 30
