"""Pods: one template for all of them, so that none forgets what Pod Security asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from assay_api.devices import GPUS_VARIABLE
from assay_api.log_lines import FORMAT_VARIABLE
from assay_api.metrics_ports import FIRST_PORT, NUM_PORTS, PORT_VARIABLE
from assay_api.platform import (
    HubAccess,
    NodePool,
    Platform,
    SharedCache,
    StoreAccess,
    Toleration,
)
from assay_api.pod_template import PodTemplate
from assay_api.tracking import SECRET_KEYS, Tracker
from assay_operator.children.hub import TOKEN_FOLDER, hub_env, hub_of, token_volume
from assay_operator.children.orders import FOLDER as ORDERS_FOLDER
from assay_operator.children.owner import Manifest, labels
from assay_operator.children.placement import Size
from assay_operator.children.quantities import binary_bytes, cores
from assay_operator.decision import Workload

COMPONENT = "app.kubernetes.io/component"
"""Label that tells a job's pods apart: learner, rollout, head, submitter, judge..."""
USER = 10001
"""User and group of every container."""

_HOME = "/home/assay"
_CACHE = f"{_HOME}/cache"
_CREDENTIALS_FOLDER = "/etc/assay/credentials"
_AUTHORITY_FOLDER = "/etc/assay/ca"
_ENV = {
    "HOME": _HOME,
    # The image's list of users need not know ours; getpass asks here first.
    "USER": "assay",
    "HF_HOME": f"{_HOME}/huggingface",
    "ASSAY_CACHE": _CACHE,
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True, slots=True)
class Pod:
    """What a pod has that others don't."""

    component: str
    """What it is, as a label."""
    container: str
    """Name of its container."""
    image: str
    """Image of the container, unless the stage says otherwise."""
    pool: NodePool
    """Where it runs."""
    size: Size
    """What it asks for."""
    command: tuple[str, ...] = ()
    """Program and arguments; none: whoever makes the pod gives them."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of its program."""
    trackers: tuple[Tracker, ...] = ()
    """Trackers that its processes tell; their keys become variables."""
    orders: str | None = None
    """Name of the ConfigMap with its orders, if it reads any."""
    between_nodes: bool = False
    """Whether it exchanges gradients with pods of other nodes: then it uses the pool's RDMA."""
    needs_store: bool = True
    """Whether it reads or writes the store."""
    hub: HubAccess | None = None
    """The Hub, for pods that read the store and a model of the Hub; told by the workload."""
    template: PodTemplate = field(default_factory=PodTemplate)
    """What the stage asks for besides."""
    restart_policy: str | None = None
    """Restart policy, where it is the pod that has one."""
    grace_seconds: int = 30
    """Time between being asked to end and being killed."""
    metric_processes: int = 0
    """Processes in it that serve metrics, each at a port of its own."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Other ports that it listens at, by name."""
    container_extra: Manifest = field(default_factory=dict)
    """Probes."""


def pod_template(workload: Workload, platform: Platform, pod: Pod) -> Manifest:
    """Return the template of a pod: it passes Pod Security restricted.

    Not where it uses RDMA, or a cache in a folder of its node.
    """
    asked = pod.template
    pod = replace(pod, hub=hub_of(workload, platform) if pod.needs_store else None)
    annotations = {**asked.annotations, "sidecar.istio.io/inject": "false"}
    own = {**labels(workload), COMPONENT: pod.component}
    return {
        "metadata": {"labels": {**asked.labels, **own}, "annotations": annotations},
        "spec": _spec(platform, pod),
    }


def _spec(platform: Platform, pod: Pod) -> Manifest:
    pool, asked = pod.pool, pod.template
    tolerations = dict.fromkeys((*pool.tolerations, *asked.tolerations))
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": pod.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # A shared cache is large: its files are given to the group once.
            **({"fsGroupChangePolicy": "OnRootMismatch"} if platform.cache else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(platform, pod)],
        "volumes": [volume for volume, _ in _volumes(platform, pod)],
    }
    optional: Manifest = {
        "restartPolicy": pod.restart_policy,
        "serviceAccountName": platform.service_account,
        "priorityClassName": asked.priority_class or pool.priority_class,
        "schedulerName": pool.scheduler_name,
        "imagePullSecrets": [{"name": name} for name in platform.images.pull_secrets],
        "nodeSelector": {**pool.node_selector, **asked.node_selector},
        "tolerations": [_toleration(toleration) for toleration in tolerations],
    }
    return {**spec, **_given(optional)}


def _given(values: Manifest) -> Manifest:
    return {key: value for key, value in values.items() if value}


def _toleration(found: Toleration) -> Manifest:
    values = {"key": found.key, "operator": found.operator, "value": found.value}
    return _given({**values, "effect": found.effect})


def _container(platform: Platform, pod: Pod) -> Manifest:
    capabilities: Manifest = {"drop": ["ALL"]}
    if _uses_rdma(pod):
        capabilities["add"] = ["IPC_LOCK"]
    return {
        "name": pod.container,
        "image": pod.template.image or pod.image,
        "imagePullPolicy": platform.images.pull_policy.value,
        **_given({"command": list(pod.command)}),
        "env": _env(platform, pod),
        "resources": _resources(pod),
        # The end of the log is what tells a launcher's exit code from that of its worker.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": capabilities,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [mount for _, mount in _volumes(platform, pod)],
        **_given({"ports": _ports(pod)}),
        **pod.container_extra,
    }


def _ports(pod: Pod) -> list[Manifest]:
    """Return the container's ports: `metrics`, `metrics-1`... are those of Assay's processes."""
    names = ["metrics", *(f"metrics-{number}" for number in range(1, NUM_PORTS))]
    own = {name: FIRST_PORT + n for n, name in enumerate(names[: pod.metric_processes])}
    return [{"name": name, "containerPort": port} for name, port in {**own, **pod.ports}.items()]


def _uses_rdma(pod: Pod) -> bool:
    return pod.pool.rdma is not None and pod.between_nodes


def _resources(pod: Pod) -> Manifest:
    size, extended = pod.size, dict[str, str]()
    if size.gpus:
        extended[pod.pool.gpu_resource] = str(size.gpus)
    if pod.pool.rdma is not None and _uses_rdma(pod):
        extended[pod.pool.rdma.resource] = str(pod.pool.rdma.count)
    if size.disk_gib:
        extended["ephemeral-storage"] = binary_bytes(size.disk_gib)
    memory = binary_bytes(size.memory_gib)
    return {
        "requests": {"cpu": cores(size.cpus), "memory": memory, **extended},
        "limits": {"cpu": cores(size.cpu_limit), "memory": memory, **extended},
    }


def _env(platform: Platform, pod: Pod) -> list[Manifest]:
    """Return the variables, each once: the stage's before the pool's before everybody's."""
    env = {**_ENV, FORMAT_VARIABLE: platform.log_format, **pod.env}
    # A process whose GPUs are missing then fails, instead of computing on the CPU for days.
    env[GPUS_VARIABLE] = str(pod.size.gpus)
    if pod.metric_processes:
        env[PORT_VARIABLE] = str(FIRST_PORT)
    if pod.needs_store:
        env |= _store_env(platform.store)
    if pod.needs_store and platform.cache is not None:
        env["ASSAY_CACHE_GIB"] = f"{platform.cache.size_gib:g}"
    if pod.hub:
        env |= hub_env(pod.hub)
    env |= {variable.name: variable.value for variable in pod.pool.env}
    env |= {variable.name: variable.value for variable in pod.template.env}
    plain = [{"name": name, "value": value} for name, value in env.items()]
    return [*plain, *(key for tracker in pod.trackers for key in _tracker_keys(tracker))]


def _tracker_keys(tracker: Tracker) -> list[Manifest]:
    """Return the variables with a tracker's keys; of several that would do, each may be missing."""
    names = SECRET_KEYS[tracker.type] if tracker.secret else ()
    alternatives = {"optional": True} if len(names) > 1 else {}
    return [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": tracker.secret, "key": name, **alternatives}},
        }
        for name in names
    ]


def _store_env(store: StoreAccess) -> dict[str, str]:
    found = {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_REGION": store.region,
        "ASSAY_S3_CREDENTIALS": _CREDENTIALS_FOLDER if store.credentials_secret else None,
        "AWS_CA_BUNDLE": f"{_AUTHORITY_FOLDER}/ca.crt" if store.ca_config_map else None,
    }
    return _given(found)


def _volumes(platform: Platform, pod: Pod) -> list[tuple[Manifest, Manifest]]:
    """Return each volume with its mount."""
    shm = {"medium": "Memory", "sizeLimit": binary_bytes(pod.size.shm_gib)}
    # Either may grow at the other's cost: the container's limit is that of both together.
    disk = {"sizeLimit": binary_bytes(pod.size.disk_gib)} if pod.size.disk_gib else {}
    found = [
        _volume("tmp", "/tmp", {"emptyDir": disk}),
        _volume("home", _HOME, {"emptyDir": disk}),
        _volume("shm", "/dev/shm", {"emptyDir": shm}),
    ]
    if pod.needs_store and platform.cache is not None:
        found.append(_volume("cache", _CACHE, _shared(platform.cache)))
    if pod.orders is not None:
        found.append(_volume("orders", ORDERS_FOLDER, {"configMap": {"name": pod.orders}}, True))
    store = platform.store
    if pod.needs_store and store.credentials_secret:
        # Readable by the group, which is fsGroup; as files they follow a rotation.
        secret = {"secretName": store.credentials_secret, "defaultMode": 0o440}
        found.append(_volume("credentials", _CREDENTIALS_FOLDER, {"secret": secret}, True))
    if pod.hub and pod.hub.token_secret:
        found.append(_volume("hub-token", TOKEN_FOLDER, token_volume(pod.hub.token_secret), True))
    if pod.needs_store and store.ca_config_map:
        found.append(
            _volume("ca", _AUTHORITY_FOLDER, {"configMap": {"name": store.ca_config_map}}, True)
        )
    return found


def _shared(cache: SharedCache) -> Manifest:
    if cache.claim is not None:
        return {"persistentVolumeClaim": {"claimName": cache.claim}}
    # Not made here: it would be root's.
    return {"hostPath": {"path": cache.host_path, "type": "Directory"}}


def _volume(
    name: str, path: str, source: Manifest, read_only: bool = False
) -> tuple[Manifest, Manifest]:
    mount: Manifest = {"name": name, "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    return {"name": name, **source}, mount
