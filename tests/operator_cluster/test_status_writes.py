"""Statuses as they are written: when, what of them, and what is told of it."""

from typing import Any

import pytest
from made_objects import CREATED, CREATED_SECONDS, STAGE, child, record, seen
from model_cluster import ModelCluster

from assay_api.base import Status
from assay_api.evaluation import EvaluationStatus
from assay_operator.cluster.act import Writer
from assay_operator.cluster.actions import Actions
from assay_operator.cluster.api import Conflict
from assay_operator.cluster.kinds import DATASET
from assay_operator.cluster.metrics import Metrics
from assay_operator.cluster.status_writes import (
    event,
    has_changed_verdict,
    is_worth_writing,
    new_failures,
    next_status,
)
from assay_operator.conditions import Reason, State, Verdict, conditions

LATER = "2026-05-01T10:01:00Z"
RUNNING = Verdict(State.RUNNING, Reason.RUNNING, "attempt 1 runs")
QUEUED = Verdict(State.BLOCKED, Reason.QUEUED, "waits")


def status(verdict: Verdict = RUNNING, generation: int = 1) -> Status:
    return Status(observed_generation=generation, conditions=conditions(verdict, generation))


def transitions(written: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["lastTransitionTime"] for c in written["conditions"]}


def test_a_condition_keeps_its_time_until_its_status_moves() -> None:
    first = next_status(status(), {}, CREATED_SECONDS)
    assert set(transitions(first).values()) == {CREATED}
    # Another reason, message and generation: nothing that holds has changed.
    again = next_status(
        status(Verdict(State.RUNNING, Reason.STARTING, "x"), 2), first, CREATED_SECONDS + 60
    )
    assert set(transitions(again).values()) == {CREATED}
    blocked = next_status(status(QUEUED), first, CREATED_SECONDS + 60)
    assert transitions(blocked) == {
        "Ready": CREATED,
        "Succeeded": CREATED,
        "Blocked": LATER,
        "Failed": CREATED,
    }


def test_a_forged_condition_gets_a_time() -> None:
    forged = {"conditions": [{"type": "Ready", "status": "False", "reason": "Odd"}]}
    assert transitions(next_status(status(), forged, CREATED_SECONDS))["Ready"] == CREATED


def test_what_is_no_longer_said_is_removed_by_the_merge_patch() -> None:
    raw = {"accuracy": {"Think": 0.5, "NoThink": 0.4}, "result": "url", "ofAnotherVersion": 1}
    new = next_status(EvaluationStatus(accuracy={"Think": 0.6}), raw, CREATED_SECONDS)
    assert new["accuracy"] == {"Think": 0.6, "NoThink": None}
    assert (new["result"], new["ofAnotherVersion"]) == (None, None)
    # Once it is written, there is nothing more to write.
    assert not is_worth_writing(new, {"accuracy": {"Think": 0.6}, **_rest(new)}, 1e9)


def _rest(new: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in new.items() if v is not None and k != "accuracy"}


@pytest.mark.parametrize(
    ("change", "since", "worth"),
    [
        ({}, 1e9, False),
        ({"checkpoint": None, "attempts": []}, 1e9, False),
        ({"step": 2}, 29.9, False),
        ({"step": 2}, 30.0, True),
        ({"checkpoint": 2}, 29.9, False),
        ({"checkpoint": 2}, 30.0, True),
        ({"attempt": 2}, 0.0, True),
        ({"step": 2, "attempt": 2}, 0.0, True),
        ({"failures": {"input": 1}}, 0.0, True),
    ],
)
def test_what_changes_all_the_time_is_written_seldom(
    change: dict[str, Any], since: float, worth: bool
) -> None:
    raw = {"step": 1, "attempt": 1, "conditions": next_status(status(), {}, 0.0)["conditions"]}
    assert is_worth_writing({**raw, **change}, raw, since) is worth


@pytest.mark.parametrize(
    ("verdict", "since", "worth", "told"),
    [
        (RUNNING, 1e9, False, False),
        (Verdict(State.RUNNING, Reason.RUNNING, "attempt 2 runs"), 29.9, False, False),
        (Verdict(State.RUNNING, Reason.RUNNING, "attempt 2 runs"), 30.0, True, False),
        (Verdict(State.RUNNING, Reason.STARTING, "attempt 1 runs"), 0.0, True, True),
        (QUEUED, 0.0, True, True),
    ],
)
def test_another_wording_waits_and_another_verdict_is_told(
    verdict: Verdict, since: float, worth: bool, told: bool
) -> None:
    raw = next_status(status(), {}, 0.0)
    new = next_status(status(verdict), raw, 60.0)
    assert is_worth_writing(new, raw, since) is worth
    assert has_changed_verdict(new, raw) is told


@pytest.mark.parametrize(
    ("verdict", "severity", "text"),
    [
        (RUNNING, "Normal", "attempt 1 runs"),
        (QUEUED, "Warning", "waits"),
        (Verdict(State.FAILED, Reason.INPUT_REFUSED, "x" * 2000), "Warning", "x" * 1024),
        (Verdict(State.SUCCEEDED, Reason.COMPLETED), "Normal", "Completed"),
    ],
)
def test_an_event_tells_where_a_resource_stands(verdict: Verdict, severity: str, text: str) -> None:
    raw = seen().raw[STAGE]
    new = next_status(status(verdict), {}, CREATED_SECONDS)
    told = event(raw, new, "assay-operator", CREATED_SECONDS)
    assert (told["type"], told["message"], told["reason"]) == (severity, text, verdict.reason)
    assert told["involvedObject"]["uid"] == "uid-alone"
    assert told["firstTimestamp"] == CREATED
    assert told == event(raw, new, "assay-operator", CREATED_SECONDS)


def test_failures_are_counted_once() -> None:
    before = {"attempts": [record(1, "application")]}
    new = {"attempts": [record(1, "application"), record(2, "preemption"), record(3)]}
    assert new_failures(new, before) == ["preemption"]
    assert new_failures(new, {}) == ["application", "preemption"]
    assert new_failures({}, {}) == []


MANIFEST = "kind: Dataset\nmetadata: {name: clips}\nspec: {source: {synthetic: {}}}"


def writer_to(
    cluster: ModelCluster, metrics: Metrics | None = None, may_write: bool = True
) -> Writer:
    return Writer(cluster, metrics or Metrics(), lambda: cluster.now, lambda: may_write)


def test_a_verdict_is_told_once_and_a_wording_never() -> None:
    cluster = ModelCluster(MANIFEST)
    writer = writer_to(cluster)
    raw = cluster.objects["Dataset", "clips"]
    for verdict in (RUNNING, RUNNING, QUEUED, Verdict(State.BLOCKED, Reason.QUEUED, "still")):
        writer.write_status(dict(raw), status(verdict))
        cluster.now += 60
    assert [line.split()[0] for line in cluster.log] == [
        "status",
        "create",
        "status",
        "create",
        "status",
    ]


def test_who_may_not_write_writes_nothing() -> None:
    cluster = ModelCluster(MANIFEST)
    writer_to(cluster, may_write=False).write_status(cluster.objects["Dataset", "clips"], status())
    assert cluster.log == []


def test_who_may_not_write_neither_makes_nor_deletes() -> None:
    cluster = ModelCluster(MANIFEST)
    actions = Actions(
        status(), delete=(child(),), create=(child("ConfigMap"),), replace=(child("TrainingStage"),)
    )
    raw = cluster.objects["Dataset", "clips"]
    writer_to(cluster, may_write=False).carry_out(raw, actions)
    assert cluster.log == []


def test_what_is_written_comes_in_its_order() -> None:
    cluster = ModelCluster(MANIFEST)
    raw = cluster.objects["Dataset", "clips"]
    stopping = Actions(status(), delete=({**child(), "apiVersion": "kubeflow.org/v1"},))
    writer_to(cluster).carry_out(raw, stopping)
    assert [line.split()[0] for line in cluster.log] == ["status", "create", "delete"]
    cluster.log.clear()
    # What is about to be made tells more, a moment later, than that it is due.
    starting = Actions(status(QUEUED), create=(child("ConfigMap"),))
    writer_to(cluster).carry_out(raw, starting)
    assert cluster.log == ["create ConfigMap alone-a1"]


def test_a_status_that_conflicts_is_left_for_the_next_look() -> None:
    cluster = ModelCluster(MANIFEST)
    metrics = Metrics()
    raw = cluster.get(DATASET, "team", "clips")
    raw["metadata"]["resourceVersion"] = "0"
    with pytest.raises(Conflict):
        cluster.patch_status(DATASET, raw, {})
    writer_to(cluster, metrics).write_status(raw, status())
    assert cluster.status_of("Dataset", "clips") == {}
    assert not [line for line in cluster.log if "Event" in line]
    sample = metrics.registry.get_sample_value
    assert sample("assay_operator_api_writes_total", {"verb": "status", "kind": "Dataset"}) is None
