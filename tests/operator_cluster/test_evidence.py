"""What a child and its pods tell of how an attempt stands, for each kind of job."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_objects import child, conditions, ended, pod, times

from assay_operator.children.owner import Manifest
from assay_operator.observed import FailureClass
from assay_operator.policies.evidence import LIVES, Evidence, evidence_of

INFRASTRUCTURE, PREEMPTION = FailureClass.INFRASTRUCTURE, FailureClass.PREEMPTION
APPLICATION, INPUT = FailureClass.APPLICATION, FailureClass.INPUT


def ray(deployment: str, job: str = "", **more: Any) -> Manifest:
    return child("RayJob", status={"jobDeploymentStatus": deployment, "jobStatus": job, **more})


def failed(*pods: Manifest, message: str = "", kind: str = "PyTorchJob") -> Evidence:
    return evidence_of(child(kind, status=conditions("Failed", message=message)), pods)


@pytest.mark.parametrize(
    ("deployment", "job", "ended", "failure", "lingers"),
    [
        ("Complete", "SUCCEEDED", True, None, False),
        ("Complete", "STOPPED", True, INFRASTRUCTURE, False),
        ("Complete", "", True, INFRASTRUCTURE, False),
        ("Failed", "FAILED", True, INFRASTRUCTURE, False),
        ("Failed", "RUNNING", True, INFRASTRUCTURE, True),
        ("Failed", "PENDING", True, INFRASTRUCTURE, True),
        ("Failed", "", True, INFRASTRUCTURE, True),
        ("Failed", "SUCCEEDED", True, INFRASTRUCTURE, True),
        ("ValidationFailed", "", True, INPUT, True),
        ("ValidationFailed", "RUNNING", True, INPUT, True),
        ("Suspended", "", False, None, False),
        ("Suspending", "RUNNING", False, None, False),
        ("Retrying", "FAILED", False, None, False),
        ("Initializing", "", False, None, False),
        ("Waiting", "", False, None, False),
        ("Running", "RUNNING", False, None, False),
        ("Running", "SUCCEEDED", False, None, False),
        ("Running", "FAILED", False, None, False),
        ("", "", False, None, False),
        ("Hibernating", "SUCCEEDED", False, None, False),
    ],
)
def test_a_ray_job_is_read_by_both_of_its_statuses(
    deployment: str, job: str, ended: bool, failure: FailureClass | None, lingers: bool
) -> None:
    found = evidence_of(ray(deployment, job), ())
    assert (found.ended, found.failure, found.lingers) == (ended, failure, lingers)


@pytest.mark.parametrize(
    ("code", "failure"), [(1, APPLICATION), (2, INPUT), (-9, INFRASTRUCTURE), (137, INFRASTRUCTURE)]
)
def test_a_ray_job_tells_its_exit_code_and_its_submitter_does_not(
    code: int, failure: FailureClass
) -> None:
    message = f"Job entrypoint command failed with exit code {code}, last logs: ..."
    job = ray("Failed", "FAILED", reason="AppFailed", message=message)
    submitter = pod("submitter", "Failed", **ended(1))
    found = evidence_of(job, [submitter])
    assert (found.failure, found.exit_code) == (failure, code)
    # Where the message has none, the submitter is all there is.
    found = evidence_of(ray("Failed", "FAILED", message="?"), [submitter])
    assert (found.failure, found.exit_code) == (APPLICATION, 1)


def test_a_ray_node_that_went_before_the_job_ended_tells_why_it_failed() -> None:
    message = "Job entrypoint command failed with exit code 1"
    job = ray("Failed", "FAILED", message=message, endTime=times(60))
    worker = pod("w", "Failed", node_type="worker", **ended(137, times(50), reason="OOMKilled"))
    found = evidence_of(job, [worker])
    assert (found.failure, found.message) == (
        INFRASTRUCTURE,
        "ran out of memory (exit code 137)",
    )
    # One that was taken down with the cluster afterwards tells nothing.
    late = pod("w", "Failed", node_type="worker", **ended(143, times(61)))
    assert evidence_of(job, [late]).failure is APPLICATION


@pytest.mark.parametrize(
    ("kind", "condition", "expected"),
    [
        ("PyTorchJob", "Created", LIVES),
        ("PyTorchJob", "Running", LIVES),
        ("PyTorchJob", "Restarting", LIVES),
        ("PyTorchJob", "Suspended", LIVES),
        ("PyTorchJob", "Succeeded", Evidence(True)),
        ("PyTorchJob", "Complete", LIVES),
        ("Job", "Complete", Evidence(True)),
        ("Job", "Succeeded", LIVES),
        ("Job", "Suspended", LIVES),
        ("Job", "FailureTarget", LIVES),
        ("Job", "SuccessCriteriaMet", LIVES),
        ("Job", "Paused", LIVES),
    ],
)
def test_other_jobs_are_read_by_their_conditions(
    kind: str, condition: str, expected: Evidence
) -> None:
    assert evidence_of(child(kind, status=conditions(condition)), ()) == expected


def test_a_condition_that_does_not_hold_tells_nothing() -> None:
    status = {"conditions": [{"type": "Failed", "status": "False"}]}
    assert evidence_of(child(status=status), ()) == LIVES


def test_no_position_in_the_list_counts() -> None:
    status = conditions("Failed", "Running")
    status["conditions"][1]["status"] = "False"
    assert evidence_of(child(status=status), ()).ended


@pytest.mark.parametrize("kind", ["PyTorchJob", "RayJob", "Job"])
def test_what_is_being_deleted_is_over_and_lingers(kind: str) -> None:
    found = evidence_of(child(kind, deletionTimestamp=times(1)), [pod()])
    assert found == Evidence(
        True, INFRASTRUCTURE, None, "was deleted by somebody else", lingers=True
    )


@pytest.mark.parametrize(
    ("code", "failure", "text"),
    [
        (1, APPLICATION, "ended (exit code 1)"),
        (2, INPUT, "ended (exit code 2)"),
        (3, APPLICATION, "ended (exit code 3)"),
        (139, APPLICATION, "ended (exit code 139)"),
        (137, INFRASTRUCTURE, "was killed (exit code 137)"),
        (143, INFRASTRUCTURE, "was killed (exit code 143)"),
        (
            75,
            INFRASTRUCTURE,
            "ended because the store, a judge or an engine was away for too long (exit code 75)",
        ),
    ],
)
def test_an_exit_code_tells_whose_fault_it_is(code: int, failure: FailureClass, text: str) -> None:
    found = failed(pod(phase="Failed", **ended(code)))
    assert (found.failure, found.exit_code, found.message) == (failure, code, text)
    assert not found.lingers


@pytest.mark.parametrize(
    ("text", "code", "failure"),
    [
        ("  rank      : 1\n  exitcode  : -9 (pid: 7)", -9, INFRASTRUCTURE),
        ("exitcode : -15 (pid: 7)\n exitcode : 1 (pid: 8)", -15, INFRASTRUCTURE),
        ("exitcode  : 2 (pid: 71)", 2, INPUT),
        ("exitcode  : 17 (pid: 71)", 17, APPLICATION),
        ("failed with exit code 2", 2, INPUT),
        ("no code in it", 1, APPLICATION),
    ],
)
def test_a_launcher_names_the_exit_code_of_the_rank_that_failed_first(
    text: str, code: int, failure: FailureClass
) -> None:
    found = failed(pod(phase="Failed", **ended(1, message=text)))
    assert (found.failure, found.exit_code) == (failure, code)


def test_memory_that_ran_out_is_told_whatever_the_exit_code() -> None:
    found = failed(pod(phase="Failed", **ended(1, reason="OOMKilled")))
    assert (found.failure, found.message) == (INFRASTRUCTURE, "ran out of memory (exit code 1)")


@pytest.mark.parametrize("turned", [False, True])
def test_the_pod_that_went_down_first_tells(turned: bool) -> None:
    first = pod("p-1", "Failed", **ended(2, times(5)))
    later = pod("p-0", "Failed", **ended(143, times(7)))
    well = pod("p-2", "Succeeded", **ended(0, times(1)))
    pods = [first, later, well]
    found = failed(*(pods[::-1] if turned else pods))
    assert (found.failure, found.exit_code) == (INPUT, 2)


def test_an_init_container_may_be_what_failed() -> None:
    status = {"initContainerStatuses": ended(3)["containerStatuses"]}
    assert failed(pod(phase="Failed", **status)).exit_code == 3


@pytest.mark.parametrize(
    "status",
    [
        {"reason": reason}
        for reason in ("Evicted", "Preempting", "NodeShutdown", "Terminated", "NodeLost")
    ]
    + [conditions("DisruptionTarget", reason="PreemptionByScheduler")],
)
def test_a_disrupted_pod_tells_of_a_preemption_whoever_failed_first(
    status: dict[str, Any],
) -> None:
    other = pod("p-0", "Failed", **ended(1, times(1)))
    found = failed(other, pod("p-1", "Failed", **status))
    assert found.failure is PREEMPTION
    assert found.message.startswith("was preempted: pod p-1: ")


@pytest.mark.parametrize(
    "message",
    [
        'Usage of EmptyDir volume "home" exceeds the limit "50Gi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 50Gi. ",
        'Container pytorch exceeded its local ephemeral storage limit "50Gi". ',
    ],
)
def test_a_pod_that_wrote_more_than_its_disk_was_not_preempted(message: str) -> None:
    full = pod("p-0", "Failed", reason="Evicted", message=message, **ended(137))
    found = failed(full)
    assert found.failure is INFRASTRUCTURE
    assert found.message == (
        f"ran out of disk: pod p-0: {message.strip()} Its pool's diskGib is too small: `assay plan`"
    )
    pressure = "The node was low on resource: memory. "
    assert failed(pod("p-0", "Failed", reason="Evicted", message=pressure)).failure is PREEMPTION


def test_a_preempted_pod_tells_that_whatever_it_ended_with() -> None:
    status = {**conditions("DisruptionTarget", reason="PreemptionByScheduler"), **ended(1)}
    assert failed(pod(phase="Failed", **status)).failure is PREEMPTION


def test_a_disruption_that_did_not_come_is_none() -> None:
    status = conditions("DisruptionTarget", reason="EvictionByEvictionAPI")
    status["conditions"][0]["status"] = "False"
    assert failed(pod(phase="Failed", **status, **ended(1))).failure is APPLICATION
    assert failed(pod(phase="Failed", reason="Odd", **ended(1))).failure is APPLICATION
    assert failed(pod(phase="Running", reason="Evicted"), message="m").failure is INFRASTRUCTURE


def test_without_pods_the_message_tells_or_nothing_does() -> None:
    assert failed(message="pod exited with exit code 2").failure is INPUT
    gone = failed(message="it has failed")
    assert (gone.failure, gone.exit_code, gone.message) == (
        INFRASTRUCTURE,
        None,
        "failed: it has failed",
    )
    assert failed().message == "failed, and no pod is left to tell why"


@pytest.mark.parametrize(
    ("created", "lost"), [(times(9), False), (times(10), False), (times(11), True)]
)
def test_a_pod_made_after_all_of_them_ran_replaces_one_that_was_lost(
    created: str, lost: bool
) -> None:
    # Times are whole seconds: a pod of the same second as the start is one of the first.
    running = child(status=conditions("Created", "Running", at=times(10)))
    found = evidence_of(running, [pod(), pod("p-1", created=created)])
    assert (found.ended, found.lingers) == (lost, lost)
    assert not lost or "p-1" in found.message
    info = {"rayJobInfo": {"startTime": times(10)}}
    head = pod("h", created=created, node_type="head")
    assert evidence_of(ray("Running", "RUNNING", **info), [head]).ended is lost
    # A job that was not started, and a worker, which Ray can do without, are no loss.
    assert evidence_of(ray("Running", "PENDING", **info), [head]) == LIVES
    worker = pod("w", created=created, node_type="worker")
    assert evidence_of(ray("Running", "RUNNING", **info), [worker]) == LIVES
    assert evidence_of(child("Job", status=conditions("Running", at=times(10))), [worker]) == LIVES


def test_success_outweighs_a_pod_that_was_replaced() -> None:
    status = conditions("Running", "Succeeded", at=times(10))
    assert evidence_of(child(status=status), [pod(created=times(11))]) == Evidence(True)


texts = st.text(max_size=12) | st.sampled_from(
    ["Complete", "Failed", "SUCCEEDED", "RUNNING", "OOMKilled", "exitcode : -9", times(7)]
)
truths = st.sampled_from(["True", "False", "Unknown"])
some_conditions = st.lists(
    st.fixed_dictionaries(
        {"type": texts, "status": truths},
        optional={"reason": texts, "message": texts, "lastTransitionTime": texts},
    ),
    max_size=3,
)
some_pods = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "phase": texts,
            "reason": texts,
            "conditions": some_conditions,
            "containerStatuses": st.lists(
                st.fixed_dictionaries(
                    {"name": texts},
                    optional={
                        "state": st.dictionaries(
                            st.sampled_from(["waiting", "terminated", "resting"]),
                            st.fixed_dictionaries(
                                {}, optional={"exitCode": st.integers(-300, 300), "reason": texts}
                            ),
                        )
                    },
                ),
                max_size=2,
            ),
        },
    ),
    max_size=3,
)
some_status = st.fixed_dictionaries(
    {},
    optional={
        "conditions": some_conditions,
        "jobStatus": texts,
        "jobDeploymentStatus": texts,
        "reason": texts,
        "message": texts,
        "endTime": texts,
        "rayJobInfo": st.dictionaries(st.sampled_from(["startTime", "endTime"]), texts),
    },
)


@given(st.sampled_from(["RayJob", "PyTorchJob", "Job", "TrainJob"]), some_status, some_pods)
def test_no_status_is_too_odd_and_what_is_unknown_lives(
    kind: str, status: dict[str, Any], statuses: list[dict[str, Any]]
) -> None:
    pods = [pod(f"p-{i}", "Running", node_type="head") for i in range(len(statuses))]
    for made, found in zip(pods, statuses, strict=True):
        made["status"] = found
    found = evidence_of(child(kind, status=status), pods)
    assert found.ended or found == LIVES
    holds = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
    known = {"Complete", "Failed", "ValidationFailed"} & {
        *holds,
        str(status.get("jobDeploymentStatus")),
    }
    replaced = {"Running"} & holds or status.get("jobStatus") == "RUNNING"
    if not known and not replaced and "Succeeded" not in holds:
        assert found == LIVES
