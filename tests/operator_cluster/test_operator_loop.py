"""The loop: what is wrong with one resource, or with the way to servers, stops nobody else."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from made_objects import CREATED
from model_cluster import NAMESPACE
from simulation import ALONE, PLATFORM, Inline, Simulation

from assay_api.errors import StoreError
from assay_operator.children.owner import Manifest
from assay_operator.cluster.act import Writer
from assay_operator.cluster.api import ApiError, Refused
from assay_operator.cluster.kinds import Kind
from assay_operator.cluster.loop import REPAIR_SECONDS, Operator, Wake, run
from assay_operator.cluster.metrics import Metrics

TWO = ALONE + ALONE[ALONE.index("---") :].replace("name: alone", "name: beside")


def errors(simulation: Simulation, what: str) -> float:
    found = simulation.metrics.registry.get_sample_value(
        "assay_operator_errors_total", {"what": what}
    )
    return found or 0.0


def dataset_done(simulation: Simulation) -> None:
    """Have the dataset made, and stop there: the stage is due, and nothing is made of it."""
    simulation.operator.tick()
    (job,) = simulation.cluster.jobs()
    simulation.cluster.start_pods(job)
    simulation.succeed(job)


def test_a_resource_that_no_model_takes_is_refused_and_the_others_go_on() -> None:
    simulation = Simulation(TWO)
    simulation.cluster.objects["TrainingStage", "alone"]["spec"]["sft"]["steps"] = -1
    dataset_done(simulation)
    simulation.operator.tick()
    ready = simulation.cluster.status_of("TrainingStage", "alone")["conditions"][0]
    assert (ready["reason"], ready["status"]) == ("InputRefused", "False")
    assert "spec.sft.steps" in ready["message"]
    assert ("PyTorchJob", "beside-a1") in simulation.cluster.objects
    assert ("PyTorchJob", "alone-a1") not in simulation.cluster.objects
    for _ in range(3):
        simulation.operator.tick()
    log = simulation.cluster.log
    assert log.count("status TrainingStage alone") == 1
    assert log.count("status TrainingStage beside") == 2  # it waits, then runs


@pytest.mark.parametrize("error", [ApiError("no answer"), Refused("quota: exceeded")])
def test_a_write_that_fails_stops_one_resource_only(
    error: ApiError, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(TWO)
    dataset_done(simulation)
    create = simulation.cluster.create

    def refuse_one(manifest: Manifest) -> None:
        if manifest["metadata"]["name"] == "alone-a1":
            raise error
        create(manifest)

    monkeypatch.setattr(simulation.cluster, "create", refuse_one)
    simulation.operator.tick()
    simulation.operator.tick()
    assert ("PyTorchJob", "beside-a1") in simulation.cluster.objects
    assert ("PyTorchJob", "alone-a1") not in simulation.cluster.objects
    if isinstance(error, Refused):
        ready = simulation.cluster.status_of("TrainingStage", "alone")["conditions"][0]
        assert (ready["reason"], ready["message"]) == ("ChildRefused", "quota: exceeded")
    else:
        assert errors(simulation, "write") >= 1.0


def test_a_store_that_is_away_leaves_alone_what_depends_on_the_unknown() -> None:
    simulation = Simulation(ALONE)
    dataset_done(simulation)
    simulation.store.away = True
    writes = simulation.cluster.writes
    simulation.operator = simulation.start()
    simulation.operator.tick()
    # Neither has the dataset failed, nor does the stage wait for it: nobody knows.
    assert simulation.cluster.writes == writes
    assert errors(simulation, "store") == 2.0
    simulation.store.away = False
    simulation.operator.tick()
    simulation.operator.tick()
    assert ("PyTorchJob", "alone-a1") in simulation.cluster.objects


def test_nothing_is_said_of_what_waits_for_the_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(ALONE)
    exists = simulation.store.exists

    def damaged(key: str) -> bool:
        if key.startswith("datasets/"):
            raise StoreError("damaged")
        return exists(key)

    monkeypatch.setattr(simulation.store, "exists", damaged)
    simulation.operator.tick()
    assert simulation.cluster.writes == 0


def test_a_store_that_does_not_open_stops_one_namespace_only() -> None:
    simulation = Simulation(ALONE)
    there = simulation.cluster.objects["Dataset", "clips"]
    beside = {**there, "metadata": {**there["metadata"], "namespace": "aside", "uid": "uid-aside"}}
    simulation.cluster.objects["Dataset", "aside"] = beside
    beside["metadata"]["name"] = "aside"

    def store_of(namespace: str) -> Any:
        if namespace == "aside":
            raise StoreError("no such bucket")
        return simulation.store

    operator = Operator(
        simulation.cluster,
        Writer(simulation.cluster, simulation.metrics, lambda: simulation.cluster.now),
        PLATFORM,
        store_of,
        Inline(),
        simulation.metrics,
        lambda: simulation.cluster.now,
    )
    assert operator.tick() <= REPAIR_SECONDS
    assert errors(simulation, "store") == 1.0
    assert [name for _, name in simulation.cluster.created] == ["dataset-clips-a1"]


def test_a_forged_status_does_not_end_the_loop() -> None:
    simulation = Simulation(ALONE)
    simulation.cluster.objects["TrainingStage", "alone"]["status"] = {
        "attempt": 3,
        "attempts": [{"number": 3, "failure": "preemption", "endedAt": "never"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Odd", "message": ""}],
    }
    dataset_done(simulation)
    simulation.operator.tick()
    assert ("PyTorchJob", "alone-a4") in simulation.cluster.objects


def test_what_is_on_its_way_out_gets_nothing_new() -> None:
    simulation = Simulation(ALONE)
    stage = simulation.cluster.objects["TrainingStage", "alone"]
    stage["metadata"]["deletionTimestamp"] = CREATED
    dataset_done(simulation)
    simulation.operator.tick()
    assert simulation.cluster.status_of("TrainingStage", "alone") == {}
    assert ("PyTorchJob", "alone-a1") not in simulation.cluster.objects


def test_an_api_server_that_is_away_is_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(ALONE)
    simulation.cluster.fault_rate = 1.0
    with pytest.raises(ApiError):
        simulation.operator.tick()
    assert simulation.cluster.writes == 0


def test_a_list_that_breaks_off_is_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(ALONE)
    items = simulation.cluster.items

    def broken(kind: Kind, *how: Any) -> Iterator[Manifest]:
        yield from items(kind, *how)
        if kind.kind == "PyTorchJob":
            raise ApiError("410: the list is too old")

    monkeypatch.setattr(simulation.cluster, "items", broken)
    with pytest.raises(ApiError, match="410"):
        simulation.operator.tick()
    assert simulation.cluster.writes == 0


def test_metrics_count_resources_writes_and_failed_attempts() -> None:
    simulation = Simulation(ALONE)
    dataset_done(simulation)
    simulation.operator.tick()
    simulation.operator.tick()
    (job,) = (j for j in simulation.cluster.jobs() if j["kind"] == "PyTorchJob")
    simulation.cluster.start_pods(job)
    simulation.cluster.end(job, 2)
    simulation.operator.tick()
    simulation.operator.tick()
    value = simulation.metrics.registry.get_sample_value
    assert value("assay_operator_attempts_total", {"failure": "input"}) == 1.0
    labels = {"kind": "TrainingStage", "reason": "InputRefused"}
    assert value("assay_operator_resources", labels) == 1.0
    assert value("assay_operator_api_writes_total", {"verb": "create", "kind": "PyTorchJob"}) == 1.0
    count = value("assay_operator_reconcile_seconds_count")
    assert count is not None
    assert count >= 3


class Looks:
    """Plays an operator whose looks end as told, and ends the loop after the last."""

    def __init__(self, stop: threading.Event, ends: list[float | ApiError]) -> None:
        self.stop, self.ends = stop, ends

    def knows(self, poked: object) -> bool:
        return False

    def tick(self) -> float:
        end = self.ends.pop(0)
        if not self.ends:
            self.stop.set()
        if isinstance(end, ApiError):
            raise end
        return end


def test_the_loop_outlives_an_api_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    stop, wake, alive = threading.Event(), Wake(), []
    looks = Looks(stop, [0.0, ApiError("refused"), 0.0])

    def pokes() -> None:
        alive.append(1)

    poking = threading.Thread(target=lambda: [wake.poke() for _ in iter(lambda: stop.wait(0.1), 1)])
    poking.start()
    run(looks, wake, stop, pokes)  # type: ignore[arg-type]
    poking.join()
    # Two looks reached the server; the one that did not is no sign of life.
    assert len(alive) == 2
    assert "the API server does not answer: refused" in caplog.text


class Pauses(Wake):
    """Waits for nothing, and notes for how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_an_api_server_that_is_away_is_not_asked_without_a_pause() -> None:
    stop, wake = threading.Event(), Pauses()
    looks = Looks(stop, [ApiError("refused"), ApiError("refused"), 7.0])
    run(looks, wake, stop, lambda: None)  # type: ignore[arg-type]
    assert wake.seconds == [0.0, 2.0, 2.0]


def test_a_poke_wakes_and_is_used_up() -> None:
    wake = Wake()
    wake.poke()
    wake.poke()
    wake.wait(60.0)
    woken = threading.Event()
    waiting = threading.Thread(target=lambda: (wake.wait(60.0), woken.set()))
    waiting.start()
    assert not woken.is_set()
    wake.poke()
    waiting.join(30.0)
    assert woken.is_set()


def test_namespaces_are_looked_at_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(ALONE)
    asked: set[str | None] = set()
    items = simulation.cluster.items

    def noted(kind: Kind, namespace: str | None, *how: Any) -> Iterator[Manifest]:
        asked.add(namespace)
        return items(kind, namespace, *how)

    monkeypatch.setattr(simulation.cluster, "items", noted)
    simulation.operator.tick()
    assert asked == {NAMESPACE}


def test_metrics_of_a_new_process_are_empty() -> None:
    assert Metrics().registry.get_sample_value("assay_operator_reconcile_seconds_count") == 0.0
