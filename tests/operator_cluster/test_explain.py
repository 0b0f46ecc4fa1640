"""What is told about a resource on a cluster, out of objects as a server has them."""

from typing import Any

import pytest
from typer.testing import CliRunner

from assay_api import InvalidInput
from assay_api.layout import ResourceId
from assay_operator.advice import ADVICE
from assay_operator.cluster.explain import explain, standing_of
from assay_operator.cluster.explain_text import as_text
from assay_operator.cluster.facts import Facts, parse_name
from assay_operator.cluster.pod_words import look_command, pod_words
from assay_operator.cluster.seen import Child
from assay_operator.conditions import Reason, State, Verdict, conditions
from assay_trainer.cli.main import app

Object = dict[str, Any]
STAGE = ResourceId("TrainingStage", "foundation")
DATASET = ResourceId("Dataset", "videos")
SINCE = "2026-01-02T03:04:05Z"


def said(state: State, reason: Reason | str, message: str = "", **status: Any) -> Object:
    """Return a resource whose status says this."""
    verdict = Verdict(state, Reason.RUNNING, message)
    told = [c.model_dump(mode="json", by_alias=True) for c in conditions(verdict, 2)]
    told = [{**c, "reason": str(reason), "lastTransitionTime": SINCE} for c in told]
    return {
        "metadata": {"name": "foundation", "uid": "u1", "generation": 2},
        "status": {"observedGeneration": 2, "conditions": told, **status},
    }


def facts(raw: Object, **values: Any) -> Facts:
    empty: Object = {"invalid": "", "others": {}, "children": (), "events": (), "hidden": ()}
    return Facts(id=STAGE, namespace="team-a", raw=raw, **{**empty, **values})


def pod(name: str, *containers: Object, phase: str = "Running", **status: Any) -> Object:
    return {
        "metadata": {"name": name, "uid": name, "labels": status.pop("labels", {})},
        "status": {"phase": phase, "containerStatuses": list(containers), **status},
    }


def container(name: str = "pytorch", **states: Object) -> Object:
    state = {key: value for key, value in states.items() if key != "before"}
    return {"name": name, "state": state, "lastState": states.get("before", {})}


def ended(exit_code: int, at: str = SINCE, **more: str) -> Object:
    return {"exitCode": exit_code, "finishedAt": at, **more}


def child(*pods: Object, kind: str = "PyTorchJob") -> Child:
    metadata = {"name": "foundation-a2", "uid": "c2", "creationTimestamp": SINCE, "labels": {}}
    return Child({"kind": kind, "metadata": metadata}, pods)


@pytest.mark.parametrize(
    "text",
    [
        "tstage/foundation",
        "TrainingStage/foundation",
        "trainingstages/foundation",
        "trainingstage.assay.dev/foundation",
    ],
)
def test_a_kind_is_spelled_as_kubectl_takes_it(text: str) -> None:
    assert parse_name(text) == STAGE


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tstge/foundation", "; did you mean tstage?"),
        ("foundation", ""),
        ("tstage/", ""),
        ("pods/a", ""),
        ("tstage/a/b", ""),
    ],
)
def test_another_name_is_refused_with_the_kinds_there_are(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_name(text)
    assert str(raised.value) == (
        f"KIND/NAME: got {text!r}, for example tstage/foundation; kinds: Dataset (tds), "
        "Evaluation (teval), RewardModel (trm), TrainingPipeline (tpipe), TrainingStage (tstage)"
        f"{hint}"
    )


def test_every_reason_has_advice_that_can_be_filled_in() -> None:
    assert set(ADVICE) == set(Reason)
    filled = {"look": "LOOK", "first": "FIRST", "kind": "k", "name": "n", "namespace": "ns"}
    for advice in ADVICE.values():
        assert advice.cluster.format(**filled)
        assert "{" not in advice.here.format(log="LOG")


def test_a_stage_that_waits_tells_for_what_and_the_command_that_says_more() -> None:
    waiting = said(State.BLOCKED, Reason.WAITING_FOR_DATASET, "Dataset/videos is running")
    running = said(State.RUNNING, Reason.RUNNING, "attempt 1 runs")
    assert as_text(explain(facts(waiting, others={DATASET: running}))) == (
        "TrainingStage/foundation: Blocked (WaitingForDataset) in namespace team-a\n"
        "  why: Dataset/videos is running\n"
        "  since: 2026-01-02T03:04:05Z\n"
        "  to do: wait for it; `assay explain Dataset/videos -n team-a` says more\n"
        "  waits for:\n"
        "    Dataset/videos: Running (Running): attempt 1 runs"
    )


def test_what_nobody_applied_is_asked_for() -> None:
    waiting = said(State.BLOCKED, Reason.WAITING_FOR_DATASET)
    found = explain(facts(waiting, others={DATASET: None}))
    assert found.advice == (
        "apply the manifest of Dataset/videos: there is no such resource in this namespace"
    )
    assert [(other.state, other.why) for other in found.waits_for] == [
        ("Missing", "there is no such resource")
    ]


def test_what_is_there_already_is_not_waited_for() -> None:
    done, blocked = said(State.SUCCEEDED, Reason.COMPLETED), said(State.BLOCKED, Reason.IMAGE_PULL)
    found = explain(facts(blocked, others={DATASET: done}))
    assert found.waits_for == ()
    assert found.plain()["refersTo"][0]["state"] == "Succeeded"
    assert explain(facts(done, others={DATASET: None})).waits_for == ()


def test_a_failed_stage_shows_last_words_the_log_and_the_ended_attempts() -> None:
    attempts = [
        {"number": 1, "failure": "preemption", "step": 8, "endedAt": SINCE, "message": "evicted"},
        {"number": 2, "failure": "application", "exitCode": 1, "step": 12, "message": "bad"},
    ]
    words = "\n".join(f"line {i}" for i in range(9))
    master = pod(
        "foundation-a2-master-0",
        container(terminated=ended(1, reason="Error", message=words)),
        phase="Failed",
    )
    event = {
        "metadata": {},
        "involvedObject": {"kind": "Pod", "name": "foundation-a2-master-0"},
        "lastTimestamp": SINCE,
        "type": "Warning",
        "reason": "BackOff",
        "message": "back-off\n restarting",
    }
    raw = said(State.FAILED, Reason.RETRIES_EXHAUSTED, "attempt 2 bad", attempts=attempts)
    raw["status"] |= {"attempt": 2, "step": 12, "totalSteps": 40, "checkpoint": 10}
    found = explain(facts(raw, children=(child(master),), events=(event,)))
    log = "kubectl logs --namespace team-a foundation-a2-master-0 --container pytorch"
    assert as_text(found).splitlines()[3:] == [
        f"  to do: `{log}` shows why; mend that, then delete the resource and apply it again: "
        "with the same spec it goes on from its checkpoint",
        "  so far: attempt 2, step 12 of 40, checkpoint of step 10",
        "  runs as: PyTorchJob/foundation-a2",
        "    pod foundation-a2-master-0: Failed: pytorch ended with exit code 1 (Error)",
        *(f"      | line {i}" for i in range(4, 9)),
        "  events:",
        f"    {SINCE} Warning BackOff Pod/foundation-a2-master-0: back-off restarting",
        f"  log: {log}",
        "  ended attempts:",
        "    attempt  failure      exit code  step  ended                 what happened",
        f"    1        preemption   -          8     {SINCE}  evicted",
        "    2        application  1          12    -                     bad",
    ]


def test_a_resource_that_nobody_looked_at_points_to_the_operator() -> None:
    found = explain(facts({"metadata": {"name": "foundation", "uid": "u1"}}))
    assert found.standing.title == "TrainingStage/foundation: New"
    assert "assay-operator" in found.advice


def test_a_reason_of_another_version_is_told_as_it_is() -> None:
    found = explain(facts(said(State.BLOCKED, "FromTheFuture", "it says so")))
    assert found.standing.title == "TrainingStage/foundation: Blocked (FromTheFuture)"
    assert found.advice == (
        "as it says; this version of assay does not know the reason FromTheFuture"
    )


def test_a_status_of_an_older_spec_a_deletion_and_a_wrong_spec_are_noted() -> None:
    raw = said(State.RUNNING, Reason.RUNNING)
    raw["metadata"] |= {"generation": 3, "deletionTimestamp": SINCE, "finalizers": ["a/b"]}
    found = explain(facts(raw, invalid="field spec.x: unknown field", hidden=("no pods for you",)))
    assert found.notes == (
        f"it is being deleted since {SINCE}; finalizers: a/b",
        "its spec was changed (generation 3), and this status is of generation 2: if that stays "
        "so, the operator does not run",
        "its spec is wrong: field spec.x: unknown field",
        "not looked at: no pods for you",
    )


@pytest.mark.parametrize(
    ("pods", "command"),
    [
        # The first that went wrong, not the last.
        (
            [
                pod("late", container(terminated=ended(1, "2026-01-02T03:04:06Z"))),
                pod("first", container(terminated=ended(9, "2026-01-02T03:04:05Z"))),
            ],
            "kubectl logs --namespace team-a first --container pytorch",
        ),
        # Its run before, when it is about to be started anew.
        (
            [
                pod(
                    "judge",
                    container("vllm", waiting={"reason": "X"}, before={"terminated": ended(1)}),
                )
            ],
            "kubectl logs --namespace team-a judge --container vllm --previous",
        ),
        # Of a Ray cluster: the pod that submitted the job, then the head.
        (
            [
                pod("a-worker", container("ray-worker", running={})),
                pod(
                    "head",
                    container("ray-head", running={}),
                    labels={"app.kubernetes.io/component": "head"},
                ),
                pod(
                    "submitter",
                    container("ray-job-submitter", running={}),
                    labels={"app.kubernetes.io/component": "submitter"},
                ),
            ],
            "kubectl logs --namespace team-a submitter --container ray-job-submitter",
        ),
        # The master's, of equal ones.
        (
            [
                pod("a-worker", container(running={})),
                pod(
                    "master",
                    container(running={}),
                    labels={"training.kubeflow.org/replica-type": "master"},
                ),
            ],
            "kubectl logs --namespace team-a master --container pytorch",
        ),
        # Nothing has started: there is no log.
        (
            [pod("waits", container(waiting={"reason": "ImagePullBackOff"}))],
            "kubectl describe --namespace team-a pod waits",
        ),
        ([], "kubectl describe --namespace team-a pytorchjob foundation-a2"),
    ],
)
def test_the_command_shows_the_log_that_tells_most(pods: list[Object], command: str) -> None:
    assert look_command("team-a", child().manifest, pods) == command


def test_without_a_child_there_is_nothing_to_look_at() -> None:
    assert look_command("team-a", None, []) == ""


def test_pods_tell_why_they_have_no_node_wait_or_were_sent_away() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    unscheduled["message"] = "0/2 nodes are available"
    away = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    waiting = container(waiting={"reason": "ErrImagePull", "message": "no such image"})
    creating = container(waiting={"reason": "ContainerCreating"})
    says = [
        pod_words(pod("a", phase="Pending", conditions=[unscheduled])).says,
        pod_words(pod("b", phase="Failed", reason="Evicted", conditions=[away])).says,
        pod_words(pod("c", waiting, phase="Pending")).says,
        pod_words(pod("d", creating, phase="Pending")).says,
    ]
    assert says == [
        "has no node: Unschedulable: 0/2 nodes are available",
        "was sent away: PreemptionByScheduler; Evicted",
        "pytorch waits: ErrImagePull: no such image",
        "",
    ]


def test_pods_in_trouble_come_first_and_long_lists_are_cut() -> None:
    running = [pod(f"w{i}", container(running={})) for i in range(9)]
    failed = pod("z", container(terminated=ended(1)), phase="Failed")
    found = explain(facts(said(State.RUNNING, Reason.RUNNING), children=(child(*running, failed),)))
    assert found.pods[0].name == "z"
    assert "    and 2 pods more" in as_text(found).splitlines()


def test_a_resource_that_is_not_there_is_missing() -> None:
    assert standing_of(DATASET, None).title == "Dataset/videos: Missing"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give either KIND/NAME"),
        (["tstage/a", "-f", "a.yaml"], "give either KIND/NAME"),
        (["tstage/a", "--store", "s"], "--store and --set go with -f FILE"),
        (["-f", "a.yaml", "-n", "team-a"], "--namespace goes with KIND/NAME"),
    ],
)
def test_options_of_the_other_place_are_refused(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, ["explain", *arguments])
    assert isinstance(result.exception, InvalidInput)
    assert problem in str(result.exception)


def test_a_schedule_tells_when_it_last_fired_and_what_was_evaluated() -> None:
    raw = said(
        State.READY,
        Reason.SCHEDULED,
        "runs at 0 3 * * *",
        step=18,
        evaluatedAt=SINCE,
        accuracy={"Think": 0.75},
        modelDigest="d",
    )
    schedule = child(kind="CronJob")
    schedule.manifest["status"] = {"lastScheduleTime": "2026-01-02T03:00:00Z"}
    told = as_text(explain(facts(raw, children=(schedule,))))
    assert "note: its schedule last fired at 2026-01-02T03:00:00Z" in told
    assert f"so far: model of step 18, evaluated at {SINCE}, accuracy 0.750 (Think)" in told
    schedule.manifest["status"] = {}
    assert "note: its schedule has not fired yet" in as_text(
        explain(facts(raw, children=(schedule,)))
    )
