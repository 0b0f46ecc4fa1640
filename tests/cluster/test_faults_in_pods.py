"""Faults on the running cluster: what fails is tried again, and goes on from its checkpoint."""

import time
from collections.abc import Iterator

import pytest
from cluster_api import Object
from cluster_user import User
from installed_assay import NAMESPACE as SYSTEM_NAMESPACE
from pod_processes import command_of, exhaust_memory, kill, processes_of
from small_course import sft

pytestmark = pytest.mark.release

STEPS, FIRST_CHECKPOINT = 40, 5
UNDISTURBED = "undisturbed"


@pytest.fixture(scope="module", autouse=True)
def undisturbed(user: User) -> None:
    """A stage that nothing befalls."""
    user.apply(sft(UNDISTURBED, STEPS))
    user.wait_for("TrainingStage", UNDISTURBED)


@pytest.fixture
def running(user: User, request: pytest.FixtureRequest) -> Iterator[str]:
    """A stage of supervised learning that has its first checkpoint; it goes at the end."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    user.apply(sft(name, STEPS, every=FIRST_CHECKPOINT))
    user.wait_for_checkpoint(name, FIRST_CHECKPOINT)
    yield name
    user.kubectl("delete", "tstage", name, "--wait=false")


def ended_well(user: User, stage: str, attempts: int, failure: str | None = None) -> list[Object]:
    """Wait for its success with the weights of a stage that nothing befell: no step is missing."""
    failed = user.wait_for_end(stage, attempts, failure)
    assert all(record["step"] >= FIRST_CHECKPOINT for record in failed), failed
    assert user.digest(stage) == user.digest(UNDISTURBED)
    return failed


def test_a_deleted_learner_pod_costs_an_attempt(user: User, running: str) -> None:
    user.delete_pod(user.running_pod(running, "learner"))
    ended_well(user, running, attempts=2, failure="infrastructure")


def test_a_killed_learner_process_costs_an_attempt(user: User, running: str) -> None:
    pod = user.running_pod(running, "learner")
    learners = processes_of(pod, "-m assay_trainer.cli.main train")
    kill([pid for pid in learners if "torch.distributed.run" not in command_of(pid)])
    (failed,) = ended_well(user, running, attempts=2, failure="infrastructure")
    assert "exit code -9" in failed["message"]


def test_a_learner_that_runs_out_of_memory_is_tried_again(user: User, running: str) -> None:
    exhaust_memory(user.running_pod(running, "learner"))
    (failed,) = ended_well(user, running, attempts=2, failure="infrastructure")
    assert "ran out of memory" in failed["message"]


def test_a_restarted_kubelet_disturbs_nothing(user: User, running: str) -> None:
    user.cluster.restart_kubelet()
    ended_well(user, running, attempts=1)


def test_a_restarted_object_store_disturbs_nothing(user: User, running: str) -> None:
    pod = user.api.get("v1", "Pod", "assay-minio-0", SYSTEM_NAMESPACE)
    user.delete_pod(pod)
    ended_well(user, running, attempts=1)


def test_an_object_store_that_is_away_for_a_minute_disturbs_nothing(
    user: User, running: str
) -> None:
    store = user.api.get("apps/v1", "StatefulSet", "assay-minio", SYSTEM_NAMESPACE)
    user.api.patch(store, {"spec": {"replicas": 0}})
    time.sleep(60)
    user.api.patch(store, {"spec": {"replicas": 1}})
    ended_well(user, running, attempts=1)
