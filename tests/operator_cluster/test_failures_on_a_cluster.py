"""Each class of failure on the real training-operator: what is recorded, and what comes next."""

import time

import pytest
from overseer import Overseer
from played_workloads import Player
from pod_behaviours import OOM_KILLED, Behaviour, Ends, Evicted, Runs

pytestmark = pytest.mark.usefixtures("operator")
NONE = {"preemption": 0, "infrastructure": 0, "application": 0, "input": 0}


def failures(player: Player, name: str) -> dict[str, int]:
    found: dict[str, int] = player.resource("TrainingStage", name)["status"]["failures"]
    return found


def test_a_stages_own_error_is_tried_again_as_often_as_its_budget_says(player: Player) -> None:
    player.apply_stage("sft", retry={"application": 1})
    player.end(player.wait_for_job("sft", 1), Ends(exit_code=1))
    second = player.wait_for_job("sft", 2)
    assert second["metadata"]["name"] == "sft-a2"
    player.progress("sft", 7)
    player.end(second, Ends(exit_code=1))
    player.wait_for_reason("TrainingStage", "sft", "RetriesExhausted")
    assert player.attempts("sft") == [(1, "application", 1), (2, "application", 1)]
    assert failures(player, "sft") == {**NONE, "application": 2}
    what, _, log = player.message("TrainingStage", "sft").partition("; its log: ")
    assert what == (
        "attempt 2 ended (exit code 1) at step 7 (application failure 2; 1 are tried again)"
    )
    assert log == (
        f"kubectl logs --namespace {player.namespace} --selector assay.dev/kind=TrainingStage,"
        "assay.dev/name=sft,assay.dev/attempt=2 --tail=50"
    )
    assert [job["metadata"]["name"] for job in player.jobs("sft")] == ["sft-a2"]


def test_wrong_input_is_final_at_once(player: Player) -> None:
    player.apply_stage("sft", retry={"application": 9})
    player.end(player.wait_for_job("sft"), Ends(exit_code=2))
    player.wait_for_reason("TrainingStage", "sft", "InputRefused")
    assert player.attempts("sft") == [(1, "input", 2)]
    assert "see the log" in player.message("TrainingStage", "sft")


@pytest.mark.parametrize(
    ("end", "failure", "exit_code", "told"),
    [
        (Ends(exit_code=137), "infrastructure", 137, "was killed (exit code 137)"),
        (OOM_KILLED, "infrastructure", 137, "ran out of memory (exit code 137)"),
        (Evicted(), "preemption", None, "was preempted: pod sft-a1-master-0"),
        (
            # torchrun ends with 1 whatever its worker ended with; its last words tell more.
            Ends(exit_code=1, message="exitcode  : -9 (pid: 7)"),
            "infrastructure",
            -9,
            "was killed (exit code -9)",
        ),
    ],
    ids=["killed", "out of memory", "evicted", "worker killed"],
)
def test_what_is_not_the_stages_fault_is_tried_again(
    player: Player, end: Behaviour, failure: str, exit_code: int | None, told: str
) -> None:
    player.apply_stage("sft")
    player.end(player.wait_for_job("sft"), end)
    player.succeed(player.wait_for_job("sft", 2))
    stage = player.wait_for_reason("TrainingStage", "sft", "Completed")
    assert player.attempts("sft") == [(1, failure, exit_code)]
    assert failures(player, "sft") == {**NONE, failure: 1}
    assert stage["status"]["attempts"][0]["message"].startswith(told)


def test_a_pod_that_somebody_deleted_ends_the_attempt(player: Player) -> None:
    player.apply_stage("sft", placement={"learners": 4})
    job = player.wait_for_job("sft")
    worker = next(p for p in player.pods(job) if "worker" in p["metadata"]["name"])
    # Times in Kubernetes are whole seconds: its successor must not be of the second it ran in.
    time.sleep(1.1)
    player.api.delete(worker, grace_seconds=0)
    second = player.wait_for_job("sft", 2)
    # The others waited for it: all begin again, together.
    assert len(player.pods(second)) == 4
    assert not player.pods(job)
    assert player.attempts("sft") == [(1, "infrastructure", None)]


def test_a_child_that_somebody_deleted_is_an_accident(player: Player) -> None:
    player.apply_stage("sft")
    job = player.wait_for_job("sft")
    player.wait_for_reason("TrainingStage", "sft", "Running")
    player.api.delete(job)
    player.wait_for_job("sft", 2)
    assert player.attempts("sft") == [(1, "infrastructure", None)]


def test_pods_that_outlive_their_child_are_waited_for(player: Player) -> None:
    player.kubelet.when(Runs(lingers_seconds=5), player.namespace, "sft-a1-*")
    player.apply_stage("sft")
    job = player.wait_for_job("sft")
    player.wait_for_reason("TrainingStage", "sft", "Running")
    with Overseer(player.api, player.namespace) as overseer:
        player.api.delete(job)
        message = player.wait_for_reason("TrainingStage", "sft", "PredecessorLives")
        assert "pod sft-a1-master-0 of an earlier attempt" in str(message["status"]["conditions"])
        player.wait_for_job("sft", 2)
    assert overseer.problems == []


def test_a_child_that_says_succeeded_without_a_proof_has_failed(player: Player) -> None:
    player.apply_stage("sft")
    player.end(player.wait_for_job("sft"), Ends(exit_code=0))
    stage = player.wait_for_reason("TrainingStage", "sft", "RetriesExhausted")
    assert player.attempts("sft") == [(1, "application", 0)]
    assert "ended without its completion.json" in player.message("TrainingStage", "sft")
    assert "modelDigest" not in stage["status"]


def test_what_is_killed_twice_at_one_step_is_no_accident(player: Player) -> None:
    player.apply_stage("sft")
    for attempt in (1, 2):
        job = player.wait_for_job("sft", attempt)
        player.progress("sft", 5)
        player.end(job, Ends(exit_code=137))
    player.wait_for_reason("TrainingStage", "sft", "RetriesExhausted")
    assert player.attempts("sft") == [(1, "infrastructure", 137), (2, "application", 137)]


def test_a_used_up_budget_ends_the_stage_and_says_where(player: Player) -> None:
    player.apply_stage("sft", retry={"infrastructure": 1, "application": 9})
    for attempt in (1, 2):
        job = player.wait_for_job("sft", attempt)
        player.progress("sft", 10 * attempt)
        player.end(job, Ends(exit_code=143))
    stage = player.wait_for_reason("TrainingStage", "sft", "RetriesExhausted")
    assert [record["step"] for record in stage["status"]["attempts"]] == [10, 20]
    assert player.message("TrainingStage", "sft").startswith(
        "attempt 2 was killed (exit code 143) at step 20 "
        "(infrastructure failure 2; 1 are tried again)"
    )
    failed = next(c for c in stage["status"]["conditions"] if c["type"] == "Failed")
    assert failed["status"] == "True"
