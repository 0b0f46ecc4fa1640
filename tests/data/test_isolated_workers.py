import ctypes
import time

import pytest

from assay_data.video.isolation import Failure, FailureKind, IsolatedPool


def misbehave(task: str | int) -> str:
    """Do what the task says; runs in a worker."""
    if task == "hang":
        while True:
            pass
    if task == "crash":
        ctypes.string_at(0)
    if task == "hog":
        bytearray(2**40)
    if task == "raise":
        raise RuntimeError("no such codec")
    if isinstance(task, int):
        time.sleep(0.05 * (task % 2))
    return f"did {task}"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str | Failure]:
    tasks = ["first", "hang", "crash", "hog", "raise", "last"]
    with IsolatedPool(misbehave, workers=2, deadline_seconds=1.0) as pool:
        return dict(zip(tasks, pool.map(tasks), strict=True))


def test_other_tasks_are_done(outcomes: dict[str, str | Failure]) -> None:
    assert outcomes["first"] == "did first"
    assert outcomes["last"] == "did last"


def test_a_task_that_hangs_is_ended_at_its_deadline(outcomes: dict[str, str | Failure]) -> None:
    assert outcomes["hang"] == Failure(FailureKind.TIMEOUT, "not done after 1 seconds")


def test_a_task_that_crashes_its_process_says_how(outcomes: dict[str, str | Failure]) -> None:
    assert outcomes["crash"] == Failure(FailureKind.CRASHED, "ended by SIGSEGV")


def test_a_task_that_needs_too_much_memory_is_refused_it(
    outcomes: dict[str, str | Failure],
) -> None:
    outcome = outcomes["hog"]
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.OUT_OF_MEMORY


def test_an_exception_is_a_failure_with_its_message(outcomes: dict[str, str | Failure]) -> None:
    assert outcomes["raise"] == Failure(FailureKind.CRASHED, "RuntimeError: no such codec")


def test_results_come_in_the_order_of_the_tasks() -> None:
    with IsolatedPool(misbehave, workers=2, deadline_seconds=10.0) as pool:
        assert list(pool.map(range(20))) == [f"did {i}" for i in range(20)]
