import pytest
import ray

from assay_api import EngineLostError
from assay_trainer.deadlines import RAY_STARTS
from assay_trainer.loops.ray_cluster import ray_cluster

TOO_SLOW = "The current node timed out during startup."


def fail(times: int, message: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `ray.init` fail so many times; return the numbers of its calls."""
    calls: list[int] = []

    def init(**options: object) -> None:
        calls.append(len(calls))
        if len(calls) <= times:
            raise Exception(message)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return calls


def test_ray_that_a_busy_machine_did_not_start_in_time_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = fail(RAY_STARTS - 1, TOO_SLOW, monkeypatch)

    with ray_cluster(2):
        pass

    assert len(calls) == RAY_STARTS


def test_ray_that_never_starts_in_time_is_worth_another_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = fail(RAY_STARTS, TOO_SLOW, monkeypatch)

    with pytest.raises(EngineLostError, match=r"did not start on this machine, 3 times"):
        ray_cluster(2).__enter__()

    assert len(calls) == RAY_STARTS


def test_any_other_error_of_ray_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fail(1, "no space left on device", monkeypatch)

    with pytest.raises(Exception, match="no space left"):
        ray_cluster(2).__enter__()

    assert len(calls) == 1
