"""Why a workload that was started does not run: each reason, and when it is none."""

from typing import Any

import pytest
from made_objects import CREATED_SECONDS, child, conditions, pod, times, waiting

from assay_operator.children.owner import Manifest
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.policies.stuck import no_progress, stuck_because


def scheduled(reason: str, status: str = "False") -> dict[str, Any]:
    found = conditions("PodScheduled", reason=reason, message="0/3 nodes are available")
    found["conditions"][0]["status"] = status
    return found


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (waiting("ImagePullBackOff"), Reason.IMAGE_PULL),
        (waiting("ErrImagePull"), Reason.IMAGE_PULL),
        (waiting("InvalidImageName"), Reason.IMAGE_PULL),
        (waiting("ErrImageNeverPull"), Reason.IMAGE_PULL),
        (waiting("CreateContainerConfigError"), Reason.CONTAINER_CONFIG),
        (waiting("CreateContainerError"), Reason.CONTAINER_CONFIG),
        (waiting("RunContainerError"), Reason.CONTAINER_CONFIG),
        (waiting("CrashLoopBackOff"), Reason.CRASH_LOOP),
        (scheduled("Unschedulable"), Reason.UNSCHEDULABLE),
        (scheduled("SchedulingGated"), Reason.QUEUED),
        (waiting("ContainerCreating"), None),
        (waiting("PodInitializing"), None),
        (waiting("SomethingNew"), None),
        (scheduled("Unschedulable", "True"), None),
        (scheduled("Unschedulable", "Unknown"), None),
        ({}, None),
    ],
)
def test_a_pod_tells_what_holds_it_up(status: dict[str, Any], reason: Reason | None) -> None:
    pods = [pod("first"), pod("held", "Pending", **status)]
    found = stuck_because(child(), pods, CREATED_SECONDS + 3600)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert (found.state, found.reason) == (State.BLOCKED, reason)
        assert found.message.startswith("pod held")


def test_a_pod_without_a_node_says_what_it_asks_for() -> None:
    found = pod("p", "Pending", **scheduled("Unschedulable"))
    requests = {"cpu": "64", "memory": "512Gi"}
    found["spec"] = {"containers": [{"name": "c", "resources": {"requests": requests}}]}
    told = stuck_because(child(), [found], CREATED_SECONDS)
    assert told is not None
    assert told.message == "pod p asks for cpu 64, memory 512Gi: 0/3 nodes are available"


def test_a_pod_that_cannot_mount_names_what_it_needs() -> None:
    states = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "PodReadyToStartContainers", "status": "False"},
    ]
    # The submitter of a RayJob comes minutes after the RayJob: its own time counts.
    started_seconds = CREATED_SECONDS + 300
    waits = pod("p", "Pending", startTime=times(300), conditions=states)
    waits["spec"] = {
        "volumes": [
            {"name": "credentials", "secret": {"secretName": "assay-store"}},
            {"name": "orders", "configMap": {"name": "first-a1-1234"}},
            {"name": "tmp", "emptyDir": {}},
        ]
    }
    assert stuck_because(child(), [waits], started_seconds + 60) is None
    found = stuck_because(child(), [waits], started_seconds + 61)
    assert found is not None and found.reason is Reason.CONTAINER_CONFIG
    assert "Secret assay-store, ConfigMap first-a1-1234;" in found.message
    states[1]["status"] = "True"
    assert stuck_because(child(), [waits], started_seconds + 61) is None


def test_an_init_container_holds_up_as_well() -> None:
    status = {"initContainerStatuses": waiting("ErrImagePull", "no such tag")["containerStatuses"]}
    assert stuck_because(child(), [pod("p", "Pending", **status)], CREATED_SECONDS) == Verdict(
        State.BLOCKED, Reason.IMAGE_PULL, "pod p, image trainer:1: no such tag"
    )


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({**child("RayJob"), "spec": {"suspend": True}}, Reason.QUEUED),
        ({**child("Job"), "spec": {"suspend": True}}, Reason.QUEUED),
        ({**child("PyTorchJob"), "spec": {"runPolicy": {"suspend": True}}}, Reason.QUEUED),
        ({**child("PyTorchJob"), "spec": {"runPolicy": {"suspend": False}}}, None),
        ({**child("CronJob"), "spec": {"suspend": True}}, None),
    ],
)
def test_a_suspended_job_waits_for_its_queue(manifest: Manifest, reason: Reason | None) -> None:
    found = stuck_because(manifest, (), CREATED_SECONDS + 10)
    assert (found.reason if found else None) is reason


@pytest.mark.parametrize(("age", "stuck"), [(0.0, False), (30.0, False), (31.0, True)])
def test_a_child_without_pods_is_not_served(age: float, stuck: bool) -> None:
    found = stuck_because(child("RayJob"), (), CREATED_SECONDS + age)
    assert (found is not None and found.reason is Reason.NO_PODS) is stuck
    assert not stuck or "`kubectl describe rayjob alone-a1`" in str(found)


@pytest.mark.parametrize(("still", "stuck"), [(1799.0, False), (1800.0, True), (7200.0, True)])
def test_a_step_that_stands_for_half_an_hour_may_hang(still: float, stuck: bool) -> None:
    found = no_progress(7, still)
    assert (found is not None) is stuck
    if found:
        assert found.reason is Reason.NO_PROGRESS
        assert found.message.startswith(f"no step after step 7 for {still / 60:.0f} minutes")


def test_a_long_message_is_cut() -> None:
    found = stuck_because(child(), [pod(**waiting("ErrImagePull", "x" * 5000))], CREATED_SECONDS)
    assert found is not None
    assert len(found.message) == 600
