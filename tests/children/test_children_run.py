"""The real training-operator and KubeRay make of the children what they are meant to become.

In a namespace that enforces Pod Security restricted, on nodes that are played.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster_api import ClusterApi, Object
from control_plane import ControlPlane
from fake_kubelet import FakeKubelet
from pod_behaviours import Ends
from third_party import ThirdParty, condition

from assay_operator.children.owner import Manifest

Render = Callable[..., list[Manifest]]
POOLS = {
    "default": {
        "gpusPerNode": 4,
        "gpuMemoryGib": 40,
        "nodes": 2,
        "cpus": 24,
        "memoryGib": 200,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
    "cpu": {"cpus": 16, "memoryGib": 64},
}
STAGE = """
kind: TrainingStage
metadata: {name: stage, namespace: NAMESPACE}
spec:
  model: {uri: s3://m/Qwen2.5-VL-7B}
  dataset: clips
"""
SFT = STAGE + "  sft: {task: T, steps: 1}\n  placement: {learners: 8}\n"
RL = (
    STAGE
    + "  rl: {steps: 1}\n  rewards: [{type: Accuracy}]\n  placement: {learners: 2, rollouts: 2}\n"
)
DATASET = """
kind: Dataset
metadata: {name: clips, namespace: NAMESPACE}
spec: {source: {synthetic: {}}}
"""
JUDGE = """
kind: RewardModel
metadata: {name: sophia, namespace: NAMESPACE}
spec: {model: {uri: s3://m/SophiaVL-3B}}
"""


@pytest.fixture
def restricted(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace whose pods all have to pass Pod Security restricted."""
    name = control_plane.new_namespace(labels={"pod-security.kubernetes.io/enforce": "restricted"})
    yield name
    control_plane.admin.delete(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )


@pytest.fixture
def started(
    control_plane: ControlPlane, restricted: str, rendered: Render
) -> Callable[..., Object]:
    """Make the children of a resource; return the job."""

    def start(text: str) -> Object:
        manifests = rendered(text.replace("NAMESPACE", restricted), nodePools=POOLS)
        for manifest in manifests:
            # There is no owner here: with a reference to one that is gone they would go too.
            del manifest["metadata"]["ownerReferences"]
            control_plane.admin.apply(manifest, "assay-operator")
        return manifests[-1]

    return start


def pods_of(api: ClusterApi, namespace: str) -> dict[str, Object]:
    return {pod["metadata"]["name"]: pod for pod in api.items("v1", "Pod", namespace)}


def wait_for_pods(api: ClusterApi, namespace: str, count: int) -> dict[str, Object]:
    def running() -> dict[str, Object] | None:
        found = pods_of(api, namespace)
        done = [p for p in found.values() if p["status"].get("phase") == "Running"]
        return found if len(done) == count else None

    found: dict[str, Object] = api.wait(f"{count} pods run", running, seconds=60)
    return found


def environment(pod: Object) -> dict[str, Any]:
    return {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}


def test_a_pytorchjob_gets_its_pods_and_their_places(
    third_party: ThirdParty,
    kubelet: FakeKubelet,
    control_plane: ControlPlane,
    restricted: str,
    started: Callable[..., Object],
) -> None:
    api = control_plane.admin
    started(SFT)
    pods = wait_for_pods(api, restricted, 2)
    assert set(pods) == {"stage-a1-master-0", "stage-a1-worker-0"}
    for name, rank in (("stage-a1-master-0", "0"), ("stage-a1-worker-0", "1")):
        env = environment(pods[name])
        assert {key: env[key] for key in env if key.startswith("PET_")} == {
            "PET_MASTER_ADDR": "stage-a1-master-0",
            "PET_MASTER_PORT": "23456",
            "PET_NNODES": "2",
            "PET_NODE_RANK": rank,
            "PET_NPROC_PER_NODE": "4",
        }
        assert env["WORLD_SIZE"] == "8"
        assert pods[name]["metadata"]["labels"]["assay.dev/name"] == "stage"
    kubelet.when(Ends(), restricted, "stage-a1-*")

    def succeeded() -> bool:
        job = api.get("kubeflow.org/v1", "PyTorchJob", "stage-a1", restricted)
        return condition(job, "Succeeded") == "True"

    api.wait("the PyTorchJob has succeeded", succeeded, seconds=60)


def test_a_rayjob_gets_a_head_its_groups_and_a_submitter(
    third_party: ThirdParty,
    control_plane: ControlPlane,
    restricted: str,
    started: Callable[..., Object],
) -> None:
    api = control_plane.admin
    started(RL)
    pods = wait_for_pods(api, restricted, 4)
    by_component = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in pods.values()
    }
    assert set(by_component) == {"head", "learner", "rollout", "submitter"}
    starts = {
        name: " ".join(pod["spec"]["containers"][0]["args"])
        for name, pod in by_component.items()
        if name != "submitter"
    }
    assert "--num-cpus=0" in starts["head"]
    assert "--num-gpus=2" in starts["learner"]
    assert """--resources='{"learner":2}'""" in starts["learner"]
    assert "--num-cpus=3" in starts["rollout"]
    assert """--resources='{"rollout":2}'""" in starts["rollout"]
    # What KubeRay adds of its own is let in as well.
    (waiting,) = by_component["learner"]["spec"]["initContainers"]
    assert waiting["securityContext"]["readOnlyRootFilesystem"] is True
    submitted = " ".join(by_component["submitter"]["spec"]["containers"][0]["command"])
    submitted += " ".join(by_component["submitter"]["spec"]["containers"][0].get("args", []))
    entrypoint = "python -m assay_trainer.cli.main train --stage /etc/assay/orders/orders.json"
    assert f"--submission-id stage-a1 -- {entrypoint} ;" in submitted
    third_party.end_ray_job(restricted, "stage-a1", "SUCCEEDED")

    def complete() -> bool:
        status = api.get("ray.io/v1", "RayJob", "stage-a1", restricted).get("status", {})
        return bool(status.get("jobDeploymentStatus") == "Complete")

    api.wait("the RayJob is complete", complete, seconds=60)


def test_a_dataset_and_a_judge_run_without_other_operators(
    kubelet: FakeKubelet,
    control_plane: ControlPlane,
    restricted: str,
    started: Callable[..., Object],
) -> None:
    api = control_plane.admin
    kubelet.when(Ends(), restricted, "dataset-*")
    job = started(DATASET)
    judge = started(JUDGE)
    find = functools.partial(api.get, namespace=restricted)

    def made() -> bool:
        return condition(find("batch/v1", "Job", job["metadata"]["name"]), "Complete") == "True"

    def ready() -> bool:
        found = find("apps/v1", "Deployment", judge["metadata"]["name"])
        return condition(found, "Available") == "True"

    api.wait("the dataset's Job is complete", made, seconds=60)
    api.wait("the judge's Deployment is available", ready, seconds=60)
    endpoints = api.items("discovery.k8s.io/v1", "EndpointSlice", restricted)
    served = [e for e in endpoints if e["metadata"]["name"].startswith("judge-sophia")]
    assert [port["port"] for e in served for port in e["ports"]] == [8000]
