"""Faults of stages that run on Ray, and of the judge that one asks."""

import threading
from collections.abc import Iterator

import pytest
from cluster_api import Object
from cluster_user import User, only_running
from faulty_proxy import Fault, FaultyProxy, Request
from installed_assay import NAMESPACE as SYSTEM_NAMESPACE
from node_settings import NODE_ADDRESS
from pod_processes import kill, processes_of
from small_course import BASE, base, documents, rl

pytestmark = pytest.mark.release

STEPS = 40
JUDGE = "critic"
ANGRY_REQUESTS = 12
"""Requests that a judge refuses: more than one request is repeated."""


def served_judge(name: str) -> str:
    return f"""
apiVersion: assay.dev/v1alpha1
kind: RewardModel
metadata: {{name: {name}}}
spec:
  model: {{fromStage: {BASE}}}
  numFrames: 1
  maxModelLengthTokens: 1024
  precision: Float32
"""


def judge_elsewhere(name: str, url: str) -> str:
    return f"""
apiVersion: assay.dev/v1alpha1
kind: RewardModel
metadata: {{name: {name}}}
spec:
  endpoint: {{url: {url}, model: {JUDGE}}}
  numFrames: 1
"""


@pytest.fixture(scope="module", autouse=True)
def base_model(user: User) -> None:
    """The stage that these start from."""
    user.apply(base(BASE))
    user.wait_for("TrainingStage", BASE)


@pytest.fixture(scope="module")
def undisturbed(user: User) -> str:
    """The digest of the model of a stage that nothing befalls."""
    user.apply(rl("undisturbed-rl", STEPS))
    user.wait_for("TrainingStage", "undisturbed-rl", seconds=600)
    return user.digest("undisturbed-rl")


def test_a_suspended_stage_of_rl_goes_on_at_the_same_step(user: User, undisturbed: str) -> None:
    user.apply(rl("rests-in-rl", STEPS, every=50))
    user.suspend("rests-in-rl", at_step=1)
    user.resume("rests-in-rl")
    assert user.digest("rests-in-rl") == undisturbed


def test_a_deleted_ray_head_costs_an_attempt_and_no_saved_step(
    user: User, undisturbed: str
) -> None:
    user.apply(rl("loses-head", STEPS))
    user.wait_for_checkpoint("loses-head", 1)
    # At once: in the two minutes of grace that it has otherwise, the stage would end.
    user.delete_pod(user.running_pod("loses-head", "head"), grace_seconds=0)
    (failed,) = user.wait_for_end("loses-head", attempts=2, failure="infrastructure")
    assert failed["step"] >= 1
    assert user.digest("loses-head") == undisturbed


def test_a_killed_rollout_engine_is_replaced_within_the_attempt(
    user: User, undisturbed: str
) -> None:
    user.apply(rl("loses-engine", STEPS))
    user.wait_for_checkpoint("loses-engine", 1)
    kill(processes_of(user.running_pod("loses-engine", "rollout"), "ray::RolloutEngine"))
    user.wait_for_end("loses-engine", attempts=1)
    assert user.digest("loses-engine") == undisturbed


def test_a_deleted_judge_is_waited_for(user: User) -> None:
    user.apply(documents(served_judge(JUDGE), rl("loses-judge", steps=12, judge=JUDGE)))
    user.wait_for_checkpoint("loses-judge", 1, seconds=400)
    selector = f"assay.dev/kind=RewardModel,assay.dev/name={JUDGE}"
    user.delete_pod(only_running(user.pods(selector)), grace_seconds=0)
    user.wait_for_end("loses-judge", attempts=1)


@pytest.fixture
def angry_judge(user: User) -> Iterator[str]:
    """The URL of a real server that answers HTTP 500 for a while, once it is told `angry`."""
    pod = judge_pod(user)
    user.api.create(pod)
    address = user.wait_until("the judge answers", lambda: ready_address(user, pod), seconds=240)
    asked, told = [0], threading.Event()

    def rule(request: Request) -> Fault | None:
        told_before = told.is_set()
        told.set()
        asked[0] += request.method == "POST"
        refuses = told_before and request.method == "POST" and asked[0] <= ANGRY_REQUESTS
        return Fault(refuse_with=(500, "InternalError")) if refuses else None

    with FaultyProxy(8000, rule, server=address, listens=NODE_ADDRESS) as proxy:
        yield f"{proxy.endpoint}/v1"
        assert asked[0] > ANGRY_REQUESTS
    user.delete_pod(pod, grace_seconds=0)


def judge_pod(user: User) -> Object:
    """Return a pod as somebody else's server would be: a learner's, that runs `assay serve`."""
    learner = user.pods("app.kubernetes.io/component=learner")[0]["spec"]
    trainer = learner["containers"][0]
    model = f"s3://assay/runs/{user.namespace}/stages/{BASE}/model"
    options = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    options += ["--gpu-memory-utilization", "0.1", "--kv-cache-memory-bytes", str(2**28)]
    command = ["assay", "serve", "--own-chat-template", "--model", model, "--name", JUDGE]
    container = {
        "name": "server",
        "image": trainer["image"],
        "imagePullPolicy": "Never",
        "command": [*command, "--host", "0.0.0.0", *options],
        "env": [e for e in trainer["env"] if e["name"].startswith(("AWS_", "ASSAY_S3", "HOME"))],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 2},
        "securityContext": trainer["securityContext"],
        "volumeMounts": trainer["volumeMounts"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "somebody-elses-judge", "namespace": user.namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": learner["securityContext"],
            "containers": [container],
            "volumes": learner["volumes"],
        },
    }


def ready_address(user: User, pod: Object) -> str | None:
    """Return the pod's address once it is ready."""
    status = user.api.get("v1", "Pod", pod["metadata"]["name"], user.namespace)["status"]
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())
    )
    return str(status["podIP"]) if ready else None


def test_a_judge_that_answers_500_for_a_while_costs_no_attempt(
    user: User, angry_judge: str
) -> None:
    stage = rl("angry-judge", steps=2, judge="elsewhere")
    user.apply(documents(judge_elsewhere("elsewhere", angry_judge), stage))
    user.wait_for_end("angry-judge", attempts=1)


def test_an_operator_that_is_deleted_again_and_again_starts_no_second_attempt(
    user: User,
) -> None:
    """Its pod goes whenever it has changed a stage: between any two of its writes."""
    user.apply(rl("orphaned", steps=2))
    seen, deleted = "", 0

    def finished() -> bool:
        nonlocal seen, deleted
        stage = user.get("TrainingStage", "orphaned")
        version = stage["metadata"]["resourceVersion"]
        if version != seen:
            seen = version
            for pod in user.api.items(
                "v1", "Pod", SYSTEM_NAMESPACE, labelSelector="app.kubernetes.io/name=assay-operator"
            ):
                user.delete_pod(pod, grace_seconds=0)
                deleted += 1
        conditions = stage.get("status", {}).get("conditions", ())
        return any(c["type"] == "Succeeded" and c["status"] == "True" for c in conditions)

    user.wait_until("orphaned has succeeded", finished, seconds=600)
    assert deleted >= 3
    assert user.status("TrainingStage", "orphaned")["attempt"] == 1
    jobs = [m["metadata"]["name"] for m in user.api.items("ray.io/v1", "RayJob", user.namespace)]
    assert [name for name in jobs if name.startswith("orphaned-")] == ["orphaned-a1"]
