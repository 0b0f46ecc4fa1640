"""Rules: what the controllers of other people's resources ask for and their CRDs do not say.

A manifest that breaks one is accepted by the server and then never runs: the job waits for ever,
fails at once, or holds its GPUs. Each rule is a function of one manifest.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from assay_operator.children.owner import Manifest
from assay_operator.children.quantities import quantity

LONGEST_NAMES = {
    # KubeRay: a longer one is ValidationFailed, a state that nothing leads out of.
    "RayJob": 47,
    # The Services of its pods are called NAME-worker-N.
    "PyTorchJob": 53,
    # The Jobs of a CronJob have eleven characters more.
    "CronJob": 52,
    "ConfigMap": 253,
}
"""Most characters of a name; of all other kinds 63."""
MOST_WORKER_GROUPS = 17
"""Kueue counts a RayJob's groups as pod sets: 20, with head and submitter."""
MOST_CONFIG_BYTES = 1024 * 1024
"""Bytes of a ConfigMap's data."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)
_SECRET = re.compile(
    r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.I
)
_SECRET_URL = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_PLACES_OF_SECRETS = ("_FILE", "_PATH", "_DIR", "ASSAY_S3_CREDENTIALS")

Finding = tuple[str, Any, str]
"""A field's path, its value, and what is allowed."""


def check(manifests: Sequence[Manifest]) -> list[str]:
    """Return a line for each rule that a manifest breaks: who, field, value, what is allowed."""
    return [
        f"{manifest['kind']}/{manifest['metadata']['name']}: field {path}: got {value!r}, {allowed}"
        for manifest in manifests
        for rule in (*_FOR_ALL, *_RULES.get(manifest["kind"], ()))
        for path, value, allowed in rule(manifest)
    ]


def pod_templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield each pod template of a manifest with its path."""
    yield from _templates(manifest.get("spec", {}), "spec")


def _templates(value: Any, path: str) -> Iterator[tuple[str, Manifest]]:
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _templates(item, f"{path}[{i}]")
    if not isinstance(value, dict):
        return
    if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
        yield path, value
        return
    for key, part in value.items():
        yield from _templates(part, f"{path}.{key}")


def _containers(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    for path, template in pod_templates(manifest):
        for i, container in enumerate(template["spec"]["containers"]):
            yield f"{path}.spec.containers[{i}]", container


def _name(manifest: Manifest) -> Iterator[Finding]:
    name, kind = manifest["metadata"]["name"], manifest["kind"]
    longest = LONGEST_NAMES.get(kind, 63)
    if len(name) > longest:
        yield (
            "metadata.name",
            name,
            f"at most {longest} characters are allowed, this has {len(name)}",
        )
    if not _NAME.fullmatch(name):
        yield "metadata.name", name, f"must match {_NAME.pattern}"


def _labels(manifest: Manifest) -> Iterator[Finding]:
    places = [("metadata", manifest["metadata"])]
    places += [(f"{p}.metadata", t.get("metadata", {})) for p, t in pod_templates(manifest)]
    for path, metadata in places:
        for key, value in metadata.get("labels", {}).items():
            if not _is_key(key):
                yield f"{path}.labels", key, "must be NAME or DOMAIN/NAME, of at most 63 characters"
            elif len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
                allowed = "must be letters, digits, '-', '_' and '.', at most 63 characters"
                yield f"{path}.labels[{key}]", value, allowed
        for key in metadata.get("annotations", {}):
            if not _is_key(key):
                yield (
                    f"{path}.annotations",
                    key,
                    "must be NAME or DOMAIN/NAME, of at most 63 characters",
                )


def _is_key(key: str) -> bool:
    return len(key.rsplit("/", 1)[-1]) <= 63 and _LABEL_KEY.fullmatch(key) is not None


def _no_secrets(manifest: Manifest) -> Iterator[Finding]:
    for path, container in _containers(manifest):
        for variable in container.get("env", []):
            name, value = variable["name"], variable.get("value", "")
            named = _SECRET.search(name) and not name.endswith(_PLACES_OF_SECRETS)
            if value and (named or _SECRET_URL.search(value)):
                allowed = "a secret is mounted or comes by secretKeyRef, it is never written here"
                yield f"{path}.env[{name}]", "...", allowed


def _variables_once(manifest: Manifest) -> Iterator[Finding]:
    for path, container in _containers(manifest):
        names = [variable["name"] for variable in container.get("env", [])]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{path}.env", name, "each variable is given once"


def _shm_fits(manifest: Manifest) -> Iterator[Finding]:
    """Memory of /dev/shm counts as the container's: as large as its limit, it would kill it."""
    for path, template in pod_templates(manifest):
        limits = template["spec"]["containers"][0].get("resources", {}).get("limits", {})
        for i, volume in enumerate(template["spec"].get("volumes", [])):
            source = volume.get("emptyDir") or {}
            if source.get("medium") != "Memory":
                continue
            where, size = f"{path}.spec.volumes[{i}].emptyDir.sizeLimit", source.get("sizeLimit")
            limit = limits.get("memory")
            if size is None or limit is None:
                yield where, size, "a volume of memory has a size, and its container a memory limit"
            elif quantity(size) >= quantity(limit):
                yield where, size, f"must be smaller than the container's memory limit, {limit}"


def _config_fits(manifest: Manifest) -> Iterator[Finding]:
    size = len(json.dumps(manifest.get("data", {}), ensure_ascii=False).encode())
    if size >= MOST_CONFIG_BYTES:
        yield "data", f"{size} bytes", f"less than {MOST_CONFIG_BYTES} bytes are allowed"


def _pytorch(manifest: Manifest) -> Iterator[Finding]:
    spec = manifest["spec"]
    replicas: Mapping[str, Any] = spec.get("pytorchReplicaSpecs", {})
    path = "spec.pytorchReplicaSpecs"
    if replicas.get("Master", {}).get("replicas") != 1:
        yield f"{path}.Master.replicas", replicas.get("Master", {}).get("replicas"), "must be 1"
    for role, replica in replicas.items():
        if role not in ("Master", "Worker"):
            yield path, role, "allowed: Master, Worker"
        names = [c["name"] for c in replica["template"]["spec"]["containers"]]
        if "pytorch" not in names:
            yield f"{path}.{role}.template.spec.containers", names, "one must be called pytorch"
        if replica.get("restartPolicy") != "Never":
            allowed = "must be Never: a new attempt is a new job"
            yield f"{path}.{role}.restartPolicy", replica.get("restartPolicy"), allowed
    processes = spec.get("nprocPerNode")
    if not isinstance(processes, str) or not processes.isdecimal() or int(processes) < 1:
        yield "spec.nprocPerNode", processes, "must be a whole number, as a string"
    policy = spec.get("runPolicy", {})
    if policy.get("backoffLimit") is not None:
        allowed = "must be unset: it deletes the failed pods, and their exit codes with them"
        yield "spec.runPolicy.backoffLimit", policy["backoffLimit"], allowed
    if policy.get("cleanPodPolicy") != "Running":
        allowed = "must be Running: else workers keep their GPUs when the master is done"
        yield "spec.runPolicy.cleanPodPolicy", policy.get("cleanPodPolicy"), allowed


def _ray(manifest: Manifest) -> Iterator[Finding]:
    spec = manifest["spec"]
    if spec.get("shutdownAfterJobFinishes") is not True:
        allowed = "must be true: Kueue and suspend need it"
        yield "spec.shutdownAfterJobFinishes", spec.get("shutdownAfterJobFinishes"), allowed
    for field in ("ttlSecondsAfterFinished", "deletionStrategy", "clusterSelector"):
        if spec.get(field):
            yield f"spec.{field}", spec[field], "must be unset: the operator deletes it"
    if spec.get("submissionMode") != "K8sJobMode" or "submitterPodTemplate" not in spec:
        allowed = "must be K8sJobMode with submitterPodTemplate: others don't pass Pod Security"
        yield "spec.submissionMode", spec.get("submissionMode"), allowed
    if not spec.get("preRunningDeadlineSeconds"):
        allowed = "must be set: nothing else ends an endless Initializing"
        yield "spec.preRunningDeadlineSeconds", spec.get("preRunningDeadlineSeconds"), allowed
    if re.search(r"[`$;&|<>\n\"\\]", spec.get("entrypoint", "")):
        yield "spec.entrypoint", spec["entrypoint"], "a shell would take parts of it as its own"
    cluster = spec["rayClusterSpec"]
    yield from _ray_group("spec.rayClusterSpec.headGroupSpec", cluster["headGroupSpec"])
    groups = cluster.get("workerGroupSpecs", [])
    if len(groups) > MOST_WORKER_GROUPS:
        allowed = f"at most {MOST_WORKER_GROUPS} are allowed by Kueue"
        yield "spec.rayClusterSpec.workerGroupSpecs", f"{len(groups)} groups", allowed
    for i, group in enumerate(groups):
        path = f"spec.rayClusterSpec.workerGroupSpecs[{i}]"
        yield from _ray_group(path, group)
        counts = [group.get(f) for f in ("replicas", "minReplicas", "maxReplicas")]
        if len(set(counts)) != 1:
            yield path, counts, "replicas, minReplicas and maxReplicas must be the same number"


def _ray_group(path: str, group: Manifest) -> Iterator[Finding]:
    params = group.get("rayStartParams")
    if params is None:
        yield f"{path}.rayStartParams", None, "must be there, if empty"
    for key, value in (params or {}).items():
        if not isinstance(value, str):
            yield f"{path}.rayStartParams[{key}]", value, "must be a string"
        if key == "labels":
            yield f"{path}.rayStartParams[labels]", value, "KubeRay refuses it"
    both = sorted({"num-cpus", "num-gpus", "memory", "resources"} & set(params or {}))
    if both and group.get("resources"):
        yield f"{path}.resources", both, "KubeRay refuses these in rayStartParams beside resources"
    for i, container in enumerate(group["template"]["spec"]["containers"]):
        mounted = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        if i == 0 and "/dev/shm" not in mounted:
            allowed = "must have /dev/shm: KubeRay would add one as large as the memory limit"
            yield f"{path}.template.spec.containers[0].volumeMounts", mounted, allowed


def _job(manifest: Manifest) -> Iterator[Finding]:
    yield from _final("spec", manifest["spec"])


def _cron(manifest: Manifest) -> Iterator[Finding]:
    spec = manifest["spec"]
    yield from _final("spec.jobTemplate.spec", spec["jobTemplate"]["spec"])
    if spec.get("concurrencyPolicy") != "Forbid":
        yield "spec.concurrencyPolicy", spec.get("concurrencyPolicy"), "must be Forbid"
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is None or deadline < 200:
        allowed = "must be >= 200: without it 100 missed starts stop the schedule for good"
        yield "spec.startingDeadlineSeconds", deadline, allowed


def _final(path: str, job: Manifest) -> Iterator[Finding]:
    if job.get("backoffLimit") != 0:
        allowed = "must be 0: a new attempt is a new job"
        yield f"{path}.backoffLimit", job.get("backoffLimit"), allowed
    policy = job["template"]["spec"].get("restartPolicy")
    if policy != "Never":
        yield f"{path}.template.spec.restartPolicy", policy, "must be Never"


Rule = Callable[[Manifest], Iterable[Finding]]
_FOR_ALL: tuple[Rule, ...] = (_name, _labels, _no_secrets, _variables_once, _shm_fits)
_RULES: Mapping[str, tuple[Rule, ...]] = {
    "ConfigMap": (_config_fits,),
    "PyTorchJob": (_pytorch,),
    "RayJob": (_ray,),
    "Job": (_job,),
    "CronJob": (_cron,),
}
