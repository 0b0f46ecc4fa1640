"""Placement: how processes are spread over pods, and what a pod gets of its node.

Of a pool with GPUs, a pod asks for one GPU per process (a rollout engine: for `gpusPerRollout`),
and has the same share of the node's CPUs, memory, /dev/shm and disk. A pool that is also `cpuPool`
keeps a quarter of each node for pods without GPU.

Of a pool of CPUs, a job's pods on one node share half of it, and a judge or an evaluation has a
quarter: a stage, its judge and its Ray head fit on one node together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assay_api.errors import InvalidInput
from assay_api.platform import NodePool, Platform
from assay_api.problems import did_you_mean
from assay_operator.decision import Workload

KEPT_FREE = 0.25
"""Share of a node that its GPUs' pods leave to pods without GPU, where there are such."""
_JOB_SHARE, _SINGLE_SHARE, _HELPER_SHARE, _SUBMITTER_SHARE = 1 / 2, 1 / 4, 1 / 8, 1 / 32
"""Shares of a node of CPUs; the pods that may run side by side have less than one together."""
_HELPER_LEAST_GIB = 2.5
"""A Ray head holds Ray's own processes, 1 GiB, and two that load torch, 0.6 GiB each."""
_HELPER_CPUS, _HELPER_GIB = 8.0, 32.0
_SUBMITTER_CPUS, _SUBMITTER_GIB = 0.5, 1.0
"""More than this, such pods have no use for, however large the node."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a container asks for."""

    gpus: int
    """GPUs."""
    cpus: float
    """Cores that it is sure of."""
    cpu_limit: float
    """Cores that it may use while nobody else does."""
    memory_gib: float
    """Memory, GiB: asked for, and the limit."""
    shm_gib: float
    """/dev/shm, GiB; part of the memory."""
    disk_gib: float = 0.0
    """Disk for what it writes, GiB: asked for, and the limit; 0: neither."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Equal pods with equal numbers of processes."""

    pods: int
    """Number of pods."""
    per_pod: int
    """Processes in each."""


@dataclass(frozen=True, slots=True)
class Site:
    """A node pool as one workload sees it."""

    workload: Workload
    """Who is placed, for messages."""
    field: str
    """The field that named the pool, for messages."""
    name: str
    """Name of the pool."""
    pool: NodePool
    """The pool."""
    gpus: int
    """GPUs of a node that the trainer image can use; 0: processes run on CPUs."""
    usable: float
    """Share of a node that pods with GPUs have together."""

    def refuse(self, field: str, problem: str) -> InvalidInput:
        """Return the error that a field's value does not fit the pool."""
        return InvalidInput(f"{self.workload.owner}: field {field}: {problem}")

    def share(self, share: float, gpus: int = 0) -> Size:
        """Return a share of a node; without GPUs, its CPUs may be used by whoever needs them."""
        cpus = self.pool.cpus * share
        return Size(
            gpus=gpus,
            cpus=cpus,
            cpu_limit=cpus if gpus else self.pool.cpus,
            memory_gib=self.pool.memory_gib * share,
            shm_gib=self.pool.shm_gib * share,
            disk_gib=self.pool.disk_gib * share,
        )

    def with_gpus(self, gpus: int) -> Size:
        """Return the size of a pod with so many GPUs."""
        return self.share(self.usable * gpus / self.gpus, gpus)


def site(workload: Workload, platform: Platform, field: str, name: str) -> Site:
    """Return the pool that a field of the workload's resource names.

    Raises:
        InvalidInput: there is no such pool.
    """
    pool = platform.node_pools.get(name)
    if pool is None:
        allowed = ", ".join(sorted(platform.node_pools))
        raise InvalidInput(
            f"{workload.owner}: field {field}: no node pool {name!r}; there are: {allowed}"
            f"{did_you_mean(name, platform.node_pools)}"
        )
    gpus = pool.gpus_per_node if platform.accelerator == "Gpu" else 0
    usable = 1 - KEPT_FREE if name == platform.cpu_pool else 1.0
    found = Site(workload, field, name, pool, gpus, usable)
    if platform.accelerator == "Gpu" and not gpus and field != CPU_POOL_FIELD:
        having = [n for n, p in sorted(platform.node_pools.items()) if p.gpus_per_node]
        raise found.refuse(
            field,
            f"node pool {name!r} has no GPUs, and the trainer image is built for them; pools with "
            f"GPUs: {', '.join(having) or 'none'}",
        )
    return found


CPU_POOL_FIELD = "cpuPool"
"""Field of the platform that names the pool of pods without GPU."""


def cpu_site(workload: Workload, platform: Platform) -> Site:
    """Return the pool of pods without GPU."""
    return site(workload, platform, CPU_POOL_FIELD, platform.cpu_pool)


def spread(where: Site, field: str, count: int, gpus_each: int = 1) -> Spread:
    """Return how processes are spread: equally, because a PyTorchJob's pods are all alike.

    With GPUs: over as few pods as can be, so that as little as can be crosses the network. On
    CPUs: each has a pod of its own, and the scheduler finds it a node.

    Args:
        where: the pool.
        field: the field with the number of processes.
        count: the number of processes.
        gpus_each: GPUs of one process; without GPUs it doesn't count.

    Raises:
        InvalidInput: one process needs more GPUs than a node has.
    """
    if not where.gpus:
        return Spread(count, 1)
    if gpus_each > where.gpus:
        raise where.refuse(
            field,
            f"got {gpus_each}, node pool {where.name!r} has {where.gpus} GPUs in a node; at most "
            f"{where.gpus} are allowed",
        )
    fitting = where.gpus // gpus_each
    pods = min(n for n in range(1, count + 1) if count % n == 0 and count // n <= fitting)
    return Spread(pods, count // pods)


def check_nodes(where: Site, gpus_of_pods: Sequence[int], what: str) -> None:
    """Refuse pods that the pool's nodes cannot hold at the same time.

    Args:
        where: the pool.
        gpus_of_pods: GPUs of each pod of the job.
        what: what they are, such as `12 learners and 4 rollouts`.

    Raises:
        InvalidInput: the job needs more nodes than there are.
    """
    free: list[int] = []
    for gpus in sorted(gpus_of_pods, reverse=True):
        place = next((i for i, left in enumerate(free) if left >= gpus), None)
        if place is None:
            free.append(where.gpus)
            place = len(free) - 1
        free[place] -= gpus
    if where.gpus and len(free) > where.pool.nodes:
        raise where.refuse(
            "spec.placement",
            f"{what} in pods of {', '.join(map(str, gpus_of_pods))} GPUs need {len(free)} nodes "
            f"with {where.gpus} GPUs; node pool {where.name!r} has {where.pool.nodes}: ask for "
            "fewer, or for numbers that fill nodes",
        )


def job_size(where: Site, gpus: int, pods: int) -> Size:
    """Return the size of one of the pods of a job that are alike or side by side.

    Args:
        where: the pool.
        gpus: GPUs of the pod, if the pool has any.
        pods: pods of the job in all; they share the nodes.
    """
    if where.gpus:
        return where.with_gpus(gpus)
    return where.share(_JOB_SHARE / math.ceil(pods / where.pool.nodes))


def single_size(where: Site) -> Size:
    """Return the size of a judge or an evaluation: one GPU, or a quarter of a node of CPUs."""
    return where.with_gpus(1) if where.gpus else where.share(_SINGLE_SHARE)


def helper_size(where: Site) -> Size:
    """Return the size of a dataset's pod or a Ray head: an eighth of a node, or enough."""
    size = where.share(_at_most(where.pool, _HELPER_SHARE, _HELPER_CPUS, _HELPER_GIB))
    return replace(size, memory_gib=max(size.memory_gib, _HELPER_LEAST_GIB))


def submitter_size(where: Site) -> Size:
    """Return the size of a pod that only submits a job and follows its log."""
    share = _at_most(where.pool, _SUBMITTER_SHARE, _SUBMITTER_CPUS, _SUBMITTER_GIB)
    return replace(where.share(share), cpu_limit=min(1.0, where.pool.cpus))


def _at_most(pool: NodePool, share: float, cpus: float, gib: float) -> float:
    return min(share, cpus / pool.cpus, gib / pool.memory_gib)
