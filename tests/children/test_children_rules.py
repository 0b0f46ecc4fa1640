"""Each rule that other people's CRDs do not encode, broken once."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from assay_operator.children.owner import Manifest
from assay_operator.children.rules import check

Render = Callable[..., list[Manifest]]
MASTER = ("spec", "pytorchReplicaSpecs", "Master")
CLUSTER = ("spec", "rayClusterSpec")
GROUP = (*CLUSTER, "workerGroupSpecs", 0)
TEMPLATE = ("spec", "template")
CONTAINER = (*TEMPLATE, "spec", "containers", 0)
UNSET: Any = object()


def test_what_is_made_breaks_no_rule(all_children: list[Manifest]) -> None:
    assert len(all_children) > 30
    assert check(all_children) == []


def changed(manifest: Manifest, path: tuple[Any, ...], value: Any) -> Manifest:
    """Return the manifest with one value replaced, or taken out."""
    result = deepcopy(manifest)
    place: Any = result
    for part in path[:-1]:
        place = place[part]
    if value is UNSET:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return result


BROKEN: dict[str, tuple[str, str, tuple[Any, ...], Any, str]] = {
    "RayJob's name": (
        "rl",
        "RayJob",
        ("metadata", "name"),
        "a" * 48,
        "field metadata.name: got 'AAA', at most 47 characters are allowed, this has 48",
    ),
    "PyTorchJob's name": (
        "sft",
        "PyTorchJob",
        ("metadata", "name"),
        "a" * 54,
        "field metadata.name: got 'AAA', at most 53 characters are allowed, this has 54",
    ),
    "Job's name": (
        "dataset",
        "Job",
        ("metadata", "name"),
        "a" * 64,
        "field metadata.name: got 'AAA', at most 63 characters are allowed, this has 64",
    ),
    "a name's characters": (
        "dataset",
        "Job",
        ("metadata", "name"),
        "Clips",
        "field metadata.name: got 'Clips', must match [a-z]([-a-z0-9]*[a-z0-9])?",
    ),
    "a label's value": (
        "dataset",
        "Job",
        (*TEMPLATE, "metadata", "labels", "team"),
        "us and them",
        "field spec.template.metadata.labels[team]: got 'us and them', must be letters, digits, "
        "'-', '_' and '.', at most 63 characters",
    ),
    "a label's key": (
        "dataset",
        "Job",
        (*TEMPLATE, "metadata", "labels", "-team"),
        "us",
        "field spec.template.metadata.labels: got '-team', must be NAME or DOMAIN/NAME, of at "
        "most 63 characters",
    ),
    "an annotation's key": (
        "dataset",
        "Job",
        (*TEMPLATE, "metadata", "annotations", "a b"),
        "",
        "field spec.template.metadata.annotations: got 'a b', must be NAME or DOMAIN/NAME, of at "
        "most 63 characters",
    ),
    "a secret in the environment": (
        "dataset",
        "Job",
        (*CONTAINER, "env"),
        [{"name": "WANDB_API_KEY", "value": "abc"}],
        "field spec.template.spec.containers[0].env[WANDB_API_KEY]: got '...', a secret is "
        "mounted or comes by secretKeyRef, it is never written here",
    ),
    "a secret in a URL": (
        "dataset",
        "Job",
        (*CONTAINER, "env"),
        [{"name": "HTTPS_PROXY", "value": "http://me:secret@proxy:3128"}],
        "field spec.template.spec.containers[0].env[HTTPS_PROXY]: got '...', a secret is mounted "
        "or comes by secretKeyRef, it is never written here",
    ),
    "a variable given twice": (
        "dataset",
        "Job",
        (*CONTAINER, "env"),
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "field spec.template.spec.containers[0].env: got 'A', each variable is given once",
    ),
    "shm as large as the memory": (
        "dataset",
        "Job",
        (*TEMPLATE, "spec", "volumes", 2, "emptyDir", "sizeLimit"),
        "8Gi",
        "field spec.template.spec.volumes[2].emptyDir.sizeLimit: got '8Gi', must be smaller than "
        "the container's memory limit, 8Gi",
    ),
    "shm without a limit": (
        "dataset",
        "Job",
        (*TEMPLATE, "spec", "volumes", 2, "emptyDir", "sizeLimit"),
        UNSET,
        "field spec.template.spec.volumes[2].emptyDir.sizeLimit: got None, a volume of memory has "
        "a size, and its container a memory limit",
    ),
    "a ConfigMap that is too large": (
        "dataset",
        "ConfigMap",
        ("data", "orders.json"),
        "x" * 1024 * 1024,
        "field data: got '1048595 bytes', less than 1048576 bytes are allowed",
    ),
    "no Master": (
        "sft",
        "PyTorchJob",
        (*MASTER, "replicas"),
        UNSET,
        "field spec.pytorchReplicaSpecs.Master.replicas: got None, must be 1",
    ),
    "another role": (
        "sft",
        "PyTorchJob",
        ("spec", "pytorchReplicaSpecs", "Chief"),
        {"restartPolicy": "Never", "template": {"spec": {"containers": [{"name": "pytorch"}]}}},
        "field spec.pytorchReplicaSpecs: got 'Chief', allowed: Master, Worker",
    ),
    "the container's name": (
        "sft",
        "PyTorchJob",
        (*MASTER, "template", "spec", "containers", 0, "name"),
        "main",
        "field spec.pytorchReplicaSpecs.Master.template.spec.containers: got ['main'], one must "
        "be called pytorch",
    ),
    "a restart": (
        "sft",
        "PyTorchJob",
        (*MASTER, "restartPolicy"),
        "OnFailure",
        "field spec.pytorchReplicaSpecs.Master.restartPolicy: got 'OnFailure', must be Never: a "
        "new attempt is a new job",
    ),
    "processes as a word": (
        "sft",
        "PyTorchJob",
        ("spec", "nprocPerNode"),
        "auto",
        "field spec.nprocPerNode: got 'auto', must be a whole number, as a string",
    ),
    "a backoff limit": (
        "sft",
        "PyTorchJob",
        ("spec", "runPolicy", "backoffLimit"),
        0,
        "field spec.runPolicy.backoffLimit: got 0, must be unset: it deletes the failed pods, and "
        "their exit codes with them",
    ),
    "workers that stay": (
        "sft",
        "PyTorchJob",
        ("spec", "runPolicy", "cleanPodPolicy"),
        "None",
        "field spec.runPolicy.cleanPodPolicy: got 'None', must be Running: else workers keep "
        "their GPUs when the master is done",
    ),
    "a cluster that stays": (
        "rl",
        "RayJob",
        ("spec", "shutdownAfterJobFinishes"),
        False,
        "field spec.shutdownAfterJobFinishes: got False, must be true: Kueue and suspend need it",
    ),
    "a job that goes by itself": (
        "rl",
        "RayJob",
        ("spec", "ttlSecondsAfterFinished"),
        60,
        "field spec.ttlSecondsAfterFinished: got 60, must be unset: the operator deletes it",
    ),
    "no submitter": (
        "rl",
        "RayJob",
        ("spec", "submissionMode"),
        "SidecarMode",
        "field spec.submissionMode: got 'SidecarMode', must be K8sJobMode with "
        "submitterPodTemplate: others don't pass Pod Security",
    ),
    "no deadline of the start": (
        "rl",
        "RayJob",
        ("spec", "preRunningDeadlineSeconds"),
        UNSET,
        "field spec.preRunningDeadlineSeconds: got None, must be set: nothing else ends an "
        "endless Initializing",
    ),
    "an entrypoint for a shell": (
        "rl",
        "RayJob",
        ("spec", "entrypoint"),
        "python -m train; rm -r /",
        "field spec.entrypoint: got 'python -m train; rm -r /', a shell would take parts of it as "
        "its own",
    ),
    "too many groups": (
        "rl",
        "RayJob",
        (*CLUSTER, "workerGroupSpecs"),
        "18 groups",
        "field spec.rayClusterSpec.workerGroupSpecs: got '18 groups', at most 17 are allowed by "
        "Kueue",
    ),
    "a group that grows": (
        "rl",
        "RayJob",
        (*GROUP, "maxReplicas"),
        9,
        "field spec.rayClusterSpec.workerGroupSpecs[0]: got [1, 1, 9], replicas, minReplicas and "
        "maxReplicas must be the same number",
    ),
    "no start parameters": (
        "rl",
        "RayJob",
        (*GROUP, "rayStartParams"),
        None,
        "field spec.rayClusterSpec.workerGroupSpecs[0].rayStartParams: got None, must be there, "
        "if empty",
    ),
    "a start parameter that is a number": (
        "rl",
        "RayJob",
        (*CLUSTER, "headGroupSpec", "rayStartParams", "num-cpus"),
        0,
        "field spec.rayClusterSpec.headGroupSpec.rayStartParams[num-cpus]: got 0, must be a string",
    ),
    "labels among the start parameters": (
        "rl",
        "RayJob",
        (*GROUP, "rayStartParams", "labels"),
        "a=b",
        "field spec.rayClusterSpec.workerGroupSpecs[0].rayStartParams[labels]: got 'a=b', KubeRay "
        "refuses it",
    ),
    "resources in two places": (
        "rl",
        "RayJob",
        (*GROUP, "rayStartParams", "num-gpus"),
        "8",
        "field spec.rayClusterSpec.workerGroupSpecs[0].resources: got ['num-gpus'], KubeRay "
        "refuses these in rayStartParams beside resources",
    ),
    "no shm of its own": (
        "rl",
        "RayJob",
        (*GROUP, "template", "spec", "containers", 0, "volumeMounts"),
        [{"name": "tmp", "mountPath": "/tmp"}],
        "field spec.rayClusterSpec.workerGroupSpecs[0].template.spec.containers[0].volumeMounts: "
        "got ['/tmp'], must have /dev/shm: KubeRay would add one as large as the memory limit",
    ),
    "a Job that tries again": (
        "dataset",
        "Job",
        ("spec", "backoffLimit"),
        6,
        "field spec.backoffLimit: got 6, must be 0: a new attempt is a new job",
    ),
    "a pod that tries again": (
        "dataset",
        "Job",
        (*TEMPLATE, "spec", "restartPolicy"),
        "OnFailure",
        "field spec.template.spec.restartPolicy: got 'OnFailure', must be Never",
    ),
    "runs side by side": (
        "evaluations",
        "CronJob",
        ("spec", "concurrencyPolicy"),
        "Allow",
        "field spec.concurrencyPolicy: got 'Allow', must be Forbid",
    ),
    "no deadline of a start": (
        "evaluations",
        "CronJob",
        ("spec", "startingDeadlineSeconds"),
        UNSET,
        "field spec.startingDeadlineSeconds: got None, must be >= 200: without it 100 missed "
        "starts stop the schedule for good",
    ),
    "a CronJob's name": (
        "evaluations",
        "CronJob",
        ("metadata", "name"),
        "a" * 53,
        "field metadata.name: got 'AAA', at most 52 characters are allowed, this has 53",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_with_field_value_and_what_is_allowed(
    case: str, rendered: Render
) -> None:
    what, kind, path, value, message = BROKEN[case]
    found = next(m for m in rendered(what) if m["kind"] == kind)
    assert check([found]) == []
    if case == "too many groups":
        value = [found["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]] * 18
    broken = changed(found, path, value)
    name = broken["metadata"]["name"]
    assert check([broken]) == [f"{kind}/{name}: {message.replace('AAA', name)}"]


def test_where_a_secret_lies_may_be_said(rendered: Render) -> None:
    (job,) = (m for m in rendered("dataset") if m["kind"] == "Job")
    env = [
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/token"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}},
    ]
    assert check([changed(job, (*CONTAINER, "env"), env)]) == []
