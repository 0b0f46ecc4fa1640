"""The cluster that other tests run on: a real one, but for the nodes and the Ray dashboards."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cluster_api import ApiError, ClusterApi, Object
from control_plane import ControlPlane
from fake_kubelet import FakeKubelet
from pod_behaviours import OOM_KILLED, CrashLoops, Ends, Evicted, Waits
from third_party import ThirdParty, condition

HERE = Path(__file__).parent
WIDGETS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.tests.assay.dev"},
    "spec": {
        "group": "tests.assay.dev",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "low": {"type": "integer"},
                                    "high": {"type": "integer"},
                                },
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "self.low < self.high",
                                        "message": "low must be below high",
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def widget(namespace: str, **spec: int) -> Object:
    metadata = {"name": "one", "namespace": namespace}
    return {
        "apiVersion": "tests.assay.dev/v1",
        "kind": "Widget",
        "metadata": metadata,
        "spec": spec,
    }


def pod(namespace: str, name: str, gpus: int = 0) -> Object:
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            # The control plane waits this long before it looks at a deleted namespace again.
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "none.invalid/x:1", "resources": resources}],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    }


def template(container: str) -> Object:
    containers = [{"name": container, "image": "none.invalid/x:1"}]
    return {"spec": {"containers": containers}}


def pytorch_job(namespace: str, name: str) -> Object:
    def replicas(count: int) -> Object:
        return {"replicas": count, "restartPolicy": "Never", "template": template("pytorch")}

    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nprocPerNode": "1",
            "runPolicy": {"cleanPodPolicy": "Running"},
            "pytorchReplicaSpecs": {"Master": replicas(1), "Worker": replicas(2)},
        },
    }


def ray_job(namespace: str, name: str) -> Object:
    workers = {"groupName": "learners", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
    submitter = template("submitter")
    submitter["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "entrypoint": "python -m nothing",
            "shutdownAfterJobFinishes": True,
            "submitterPodTemplate": submitter,
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},
                    "template": template("head"),
                },
                "workerGroupSpecs": [
                    {**workers, "rayStartParams": {}, "template": template("worker")}
                ],
            },
        },
    }


def wait_for_pod(api: ClusterApi, namespace: str, name: str, phase: str) -> Object:
    def is_there() -> Object | None:
        found = api.get("v1", "Pod", name, namespace)
        return found if found["status"]["phase"] == phase else None

    found: Object = api.wait(f"pod {name} is {phase}", is_there)
    return found


def terminated(found: Object) -> Any:
    return found["status"]["containerStatuses"][0]["state"]["terminated"]


def test_a_rule_of_a_definition_refuses_what_breaks_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply_crds([WIDGETS])
    control_plane.admin.create(widget(namespace, low=1, high=2), dryRun="All")
    with pytest.raises(ApiError, match="low must be below high"):
        control_plane.admin.create(widget(namespace, low=2, high=2))
    with pytest.raises(ApiError, match=r'unknown field "spec\.wide"'):
        control_plane.admin.create(widget(namespace, low=1, high=2, wide=3))


def test_a_service_account_may_do_what_it_was_given_and_no_more(
    control_plane: ControlPlane, namespace: str, kubectl: Any
) -> None:
    metadata = {"name": "viewer", "namespace": namespace}
    control_plane.admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    control_plane.admin.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view",
            },
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        }
    )  # fmt: skip
    path = control_plane.kubeconfig_of("viewer", namespace)
    control_plane.admin.wait(
        "its rights hold",
        lambda: kubectl("get", "pods", f"--kubeconfig={path}").returncode == 0,
    )
    refused = kubectl("create", "configmap", "x", f"--kubeconfig={path}")
    assert refused.returncode == 1
    assert f"system:serviceaccount:{namespace}:viewer" in refused.stderr
    assert "cannot create resource" in refused.stderr


def test_pods_end_as_the_fake_kubelet_is_told(
    control_plane: ControlPlane, kubelet: FakeKubelet, namespace: str
) -> None:
    api = control_plane.admin
    kubelet.when(Ends(), namespace, "good")
    kubelet.when(Ends(exit_code=3, message="no such file"), namespace, "bad")
    kubelet.when(OOM_KILLED, namespace, "big")
    kubelet.when(Evicted(), namespace, "evicted")
    kubelet.when(Waits(), namespace, "no-image")
    kubelet.when(CrashLoops(exit_code=2), namespace, "crashing")
    for name in ("good", "bad", "big", "evicted", "no-image", "crashing", "steady"):
        api.create(pod(namespace, name))
    assert terminated(wait_for_pod(api, namespace, "good", "Succeeded"))["exitCode"] == 0
    bad = terminated(wait_for_pod(api, namespace, "bad", "Failed"))
    assert (bad["exitCode"], bad["reason"], bad["message"]) == (3, "Error", "no such file")
    big = terminated(wait_for_pod(api, namespace, "big", "Failed"))
    assert (big["exitCode"], big["reason"]) == (137, "OOMKilled")
    evicted = wait_for_pod(api, namespace, "evicted", "Failed")
    assert condition(evicted, "DisruptionTarget") == "True"
    assert condition(wait_for_pod(api, namespace, "steady", "Running"), "Ready") == "True"
    crashing = wait_for_pod(api, namespace, "crashing", "Running")["status"]["containerStatuses"][0]
    assert crashing["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert crashing["lastState"]["terminated"]["exitCode"] == 2
    assert crashing["restartCount"] == 5
    waiting = api.get("v1", "Pod", "no-image", namespace)["status"]["containerStatuses"][0]
    assert waiting["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_a_pod_that_fits_no_node_is_said_to_be_unschedulable(
    control_plane: ControlPlane, kubelet: FakeKubelet, namespace: str
) -> None:
    api = control_plane.admin
    api.create(pod(namespace, "fits", gpus=8))
    api.create(pod(namespace, "too-big", gpus=9))
    wait_for_pod(api, namespace, "fits", "Running")

    def unschedulable() -> Object | None:
        found = api.get("v1", "Pod", "too-big", namespace)
        return next(iter(found["status"].get("conditions", ())), None)

    said = api.wait("the scheduler says why", unschedulable)
    assert (said["type"], said["reason"]) == ("PodScheduled", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in said["message"]


def test_a_deleted_pod_goes_and_so_does_its_namespace(
    control_plane: ControlPlane, kubelet: FakeKubelet
) -> None:
    api = control_plane.admin
    namespace = control_plane.new_namespace()
    api.create(pod(namespace, "steady"))
    wait_for_pod(api, namespace, "steady", "Running")
    api.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    api.wait("the namespace is gone", lambda: not api.find("v1", "Namespace", namespace))


def test_a_pytorch_job_succeeds_when_its_master_does(
    control_plane: ControlPlane, kubelet: FakeKubelet, third_party: ThirdParty, namespace: str
) -> None:
    api = control_plane.admin
    for name in ("good", "bad"):
        api.create(pytorch_job(namespace, name))
        for replica in ("master-0", "worker-0", "worker-1"):
            wait_for_pod(api, namespace, f"{name}-{replica}", "Running")
    kubelet.when(Ends(), namespace, "good-master-0")
    kubelet.when(Ends(exit_code=1), namespace, "bad-master-0")

    def ended(name: str, how: str) -> bool:
        job = api.get("kubeflow.org/v1", "PyTorchJob", name, namespace)
        return bool(condition(job, how) == "True")

    api.wait("it succeeds", lambda: ended("good", "Succeeded"), shown=third_party.log_tails)
    api.wait("it fails", lambda: ended("bad", "Failed"), shown=third_party.log_tails)


def test_the_training_operators_own_webhook_refuses_what_it_would_not_run(
    control_plane: ControlPlane, third_party: ThirdParty, namespace: str
) -> None:
    job = pytorch_job(namespace, "misnamed")
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"] = template("main")
    with pytest.raises(ApiError, match="at least one container with name pytorch"):
        control_plane.admin.create(job)


@pytest.mark.parametrize(
    ("status", "deployment"), [("SUCCEEDED", "Complete"), ("FAILED", "Failed")]
)
def test_a_ray_job_ends_as_its_dashboard_says(
    control_plane: ControlPlane,
    third_party: ThirdParty,
    namespace: str,
    status: str,
    deployment: str,
) -> None:
    api = control_plane.admin
    api.create(ray_job(namespace, "rl"))

    def told() -> Any:
        return api.get("ray.io/v1", "RayJob", "rl", namespace).get("status", {})

    def stands(job: str, how: str) -> bool:
        found = told()
        return (found.get("jobStatus"), found.get("jobDeploymentStatus")) == (job, how)

    api.wait("it runs", lambda: stands("RUNNING", "Running"), shown=told)
    third_party.end_ray_job(namespace, "rl", status, "as told")
    api.wait("it ends", lambda: stands(status, deployment), shown=told)
    assert told()["message"] == "as told"


STARTS_AND_WAITS = """
import time
from control_plane import ControlPlane
control_plane = ControlPlane()
control_plane.start()
print(*(p.process.pid for p in control_plane._processes), flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_killed_run() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent / 'servers'}"}
    run = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert run.stdout is not None
    with run.stdout as told:
        numbers = told.readline().split()
        assert len(numbers) == 4
        run.kill()
        run.wait()
    deadline = time.monotonic() + 30
    while left := [n for n in numbers if is_running(n)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def is_running(number: str) -> bool:
    status = Path(f"/proc/{number}/stat")
    # A process that nobody has waited for is dead all the same.
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
