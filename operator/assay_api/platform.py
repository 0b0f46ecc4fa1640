"""Platform: what an installation offers to workloads. Helm renders it, `assay render` reads it.

It says where things run and lie, never what is trained: no digest depends on it.
"""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from assay_api.base import Labels, Model, Name, check_exactly_one
from assay_api.log_lines import LogFormat

NOT_FOR_PODS = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys"),
    *("/usr", "/var/lib/containerd", "/var/lib/docker", "/var/lib/etcd", "/var/lib/kubelet"),
    *("/var/log", "/var/run"),
)
"""Folders of a node that belong to the node."""


class Toleration(Model):
    """A Kubernetes toleration."""

    key: str = Field(
        default="", max_length=317, description="Taint's key; empty with Exists: every taint."
    )
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="How to compare.")
    value: str | None = Field(default=None, max_length=63, description="Taint's value, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Taint's effect; unset: every effect."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.value and self.operator == "Exists":
            raise ValueError("value belongs to the operator Equal; Exists takes none")
        if not self.key and self.operator == "Equal":
            raise ValueError("key is required by the operator Equal")
        return self


class EnvVar(Model):
    """A plain environment variable; secrets never travel this way."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256, description="Name.")
    value: str = Field(max_length=4096, description="Value.")


class Rdma(Model):
    """InfiniBand or RoCE between the nodes of a pool.

    Its pods ask for the capability IPC_LOCK, which Pod Security `baseline` and `restricted` refuse:
    the namespace has to enforce `privileged`. Pods don't run as root, so the container runtime of
    the nodes has to leave locked memory unlimited too.
    """

    resource: str = Field(min_length=1, description="Extended resource, such as rdma/hca.")
    count: int = Field(default=1, ge=1, le=64, description="How many of it a pod asks for.")


class NodePool(Model):
    """Nodes of one kind. Sizes are per node, and what pods can have of it."""

    gpus_per_node: int = Field(default=0, ge=0, le=16, description="GPUs; 0: a pool of CPUs.")
    gpu_memory_gib: float = Field(default=0, ge=0, le=1024, description="Memory of one GPU, GiB.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Extended resource of a GPU.")
    nodes: int = Field(default=1, ge=1, le=10_000, description="Nodes that there are.")
    cpus: float = Field(default=4, gt=0, le=1024, description="CPU cores for pods.")
    memory_gib: float = Field(default=16, gt=0, le=16_384, description="Memory for pods, GiB.")
    shm_gib: float = Field(
        default=2,
        ge=0,
        le=4096,
        description="/dev/shm of a pod that has a whole node, GiB; part of its memory. Smaller "
        "pods have their share.",
    )
    disk_gib: float = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="Disk of a node for what pods write (ephemeral-storage), GiB; pods ask for "
        "their share, and it is their limit. 0: not told; they ask for none, and nothing limits "
        "them.",
    )
    node_selector: Labels = Field(
        default_factory=dict, description="Labels that a node of the pool has."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=32, description="Taints of the pool's nodes."
    )
    env: tuple[EnvVar, ...] = Field(
        default=(), max_length=64, description="Variables such as NCCL_SOCKET_IFNAME."
    )
    rdma: Rdma | None = Field(default=None, description="Fast network between nodes, if any.")
    queue: str | None = Field(
        default=None, max_length=63, description="Kueue LocalQueue that admits jobs of the pool."
    )
    scheduler_name: str | None = Field(
        default=None, max_length=63, description="Scheduler of gangs, such as volcano; unset: none."
    )
    priority_class: str | None = Field(
        default=None, max_length=63, description="PriorityClass of the pool's pods."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gpus_per_node and not self.gpu_memory_gib:
            raise ValueError("gpuMemoryGib is required where gpusPerNode is given")
        if self.shm_gib >= self.memory_gib:
            raise ValueError(
                f"shmGib ({self.shm_gib}) is part of memoryGib ({self.memory_gib}), "
                "and must be smaller"
            )
        return self


class PullPolicy(StrEnum):
    """When a node pulls an image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Images(Model):
    """Container images, by tag or by digest."""

    trainer: str = Field(min_length=1, description="Learners, rollouts, judges, evaluations.")
    data: str = Field(min_length=1, description="Datasets.")
    pull_policy: PullPolicy = Field(
        default=PullPolicy.IF_NOT_PRESENT, description="When a node pulls them."
    )
    pull_secrets: tuple[Name, ...] = Field(
        default=(), max_length=8, description="Secrets with registry credentials."
    )


class StoreAccess(Model):
    """The object store, and how pods reach it. Credentials are mounted, never copied."""

    url: str = Field(pattern=r"^s3://", description="s3://BUCKET/PREFIX; namespaces lie under it.")
    endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="URL of the server; unset: AWS."
    )
    region: str | None = Field(default=None, description="Region; unset: the server's default.")
    credentials_secret: Name | None = Field(
        default=None,
        description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in each "
        "namespace with workloads; unset: the pod's own identity.",
    )
    ca_config_map: Name | None = Field(
        default=None, description="ConfigMap with the private authority's ca.crt; unset: public."
    )
    port: int = Field(default=443, ge=1, le=65535, description="Server's port, for NetworkPolicy.")


def _check_host_path(path: str) -> str:
    """Refuse folders that belong to a node itself."""
    if any(PurePosixPath(path).is_relative_to(folder) for folder in NOT_FOR_PODS):
        raise ValueError(
            f"got {path!r}; folders of the node are refused: {', '.join(NOT_FOR_PODS)}"
        )
    return path


HostPath = Annotated[
    str,
    Field(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,}$", max_length=255),
    AfterValidator(_check_host_path),
]
"""A folder of a node, below another one, such as /var/cache/assay."""


class SharedCache(Model):
    """One folder of downloads (models, datasets, checkpoints) for many pods; off unless given.

    Whoever may run a workload may change what is in it, for every workload that uses it.
    """

    host_path: HostPath | None = Field(
        default=None,
        description="Folder of each node, which user 10001 may write to; it has to be there. Pod "
        "Security `baseline` and `restricted` refuse such pods: the namespace has to enforce "
        "`privileged`.",
    )
    claim: Name | None = Field(
        default=None,
        description="PersistentVolumeClaim in each namespace with workloads. It must be mountable "
        "by all pods at once (ReadWriteMany where there are several nodes) and know file locks.",
    )
    size_gib: float = Field(
        default=200, gt=0, le=1_048_576, description="Copies longest unused go beyond this, GiB."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        check_exactly_one(self, ("host_path", "claim"))
        return self


class HubAccess(Model):
    """The Hugging Face Hub, for workloads whose model is one of it (`hf://OWNER/NAME`)."""

    endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="URL of a mirror; unset: the Hub itself."
    )
    token_secret: Name | None = Field(
        default=None,
        description="Secret with the key HF_TOKEN, in each namespace with workloads; unset: no "
        "token is sent, which is enough for public models.",
    )


class Platform(Model):
    """Everything about an installation that the children of resources depend on."""

    store: StoreAccess = Field(description="Object store.")
    images: Images = Field(description="Container images.")
    node_pools: dict[str, NodePool] = Field(
        min_length=1, description="Node pools by name; `placement.pool` names one."
    )
    cpu_pool: str = Field(
        default="default", description="Pool of datasets, Ray heads and submitters: no GPU needed."
    )
    accelerator: Literal["Gpu", "Cpu"] = Field(
        default="Gpu", description="What the trainer image is built for."
    )
    ray_version: str = Field(default="2.60.0", description="Ray in the trainer image.")
    cache: SharedCache | None = Field(
        default=None, description="Cache that pods share; unset: each pod has one of its own."
    )
    hub: HubAccess | None = Field(
        default=None, description="Access to the Hugging Face Hub; unset: workloads have none."
    )
    service_account: Name | None = Field(
        default=None, description="ServiceAccount of workloads; unset: the namespace's default."
    )
    network_policies: bool = Field(default=True, description="Whether workloads get NetworkPolicy.")
    log_format: LogFormat = Field(
        default="text", description="Log lines of workloads: for people, or JSON."
    )

    @model_validator(mode="after")
    def _pools_exist(self) -> Self:
        if self.cpu_pool not in self.node_pools:
            raise ValueError(
                f"cpuPool is {self.cpu_pool!r}, nodePools has {', '.join(sorted(self.node_pools))}"
            )
        return self
