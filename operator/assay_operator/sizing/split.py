"""How a stage's processes are divided over the GPUs and nodes of a pool.

The rule is that of the pods that are made: learners lie in the fewest pods of equal size that fit a
node, rollout engines likewise; a judge or an evaluation is a pod with one GPU. A pod has the share
of its node's memory and /dev/shm that its GPUs are of the node's. Without GPUs the pods of a stage
on one node share half of it, and a judge or an evaluation has a quarter.

Source: `assay_operator.children.placement`; a test compares the two.
"""

import math
from dataclasses import dataclass

from assay_api.platform import NodePool

CPU_SHARE = 0.5
"""Share of a node without GPUs that the pods of one stage have."""
CPU_SINGLE_SHARE = 0.25
"""Share of a node without GPUs that a judge or an evaluation has."""
LEARNERS, ROLLOUTS, JUDGES, EVALUATION = "learners", "rollouts", "judges", "evaluation"
"""What runs in the pods of a kind."""
_SINGLES = (JUDGES, EVALUATION)


@dataclass(frozen=True, slots=True)
class Pods:
    """Equal pods of one kind."""

    what: str
    """What runs in them."""
    count: int
    """Number of pods."""
    processes: int
    """Processes in each."""
    gpus: int
    """GPUs of each."""


@dataclass(frozen=True, slots=True)
class Split:
    """The division of a stage over a pool."""

    pods: tuple[Pods, ...]
    nodes: int
    """Nodes that are needed."""
    idle_gpus: int
    """GPUs of those nodes that the stage leaves idle."""
    pool: NodePool
    placed: tuple[tuple[str, ...], ...] = ()
    """What each pod of each node is for; without GPUs the scheduler decides."""

    @property
    def gpus(self) -> int:
        """GPUs that are used."""
        return sum(pods.count * pods.gpus for pods in self.pods)

    @property
    def fits(self) -> bool:
        """Whether the pool has as many nodes."""
        return self.nodes <= self.pool.nodes

    @property
    def problems(self) -> list[str]:
        """What the pool lacks, with the numbers."""
        if self.fits:
            return []
        return [
            f"pool: {self.gpus} GPUs on {self.nodes} nodes are needed, there are "
            f"{self.pool.nodes} nodes of {self.pool.gpus_per_node} GPUs"
        ]

    def share(self, pods: Pods) -> float:
        """Return the share of a node's memory that one of the pods has."""
        if pods.gpus:
            return pods.gpus / self.pool.gpus_per_node
        if pods.what in _SINGLES:
            return CPU_SINGLE_SHARE
        total = sum(other.count for other in self.pods if other.what not in _SINGLES)
        return CPU_SHARE / math.ceil(total / self.pool.nodes)


def equal_pods(what: str, processes: int, gpus_each: int, pool: NodePool) -> Pods:
    """Return the fewest equal pods that hold the processes; without GPUs, one for each.

    A process that needs more GPUs than a node has is a pod that no node holds.

    Example:
        >>> pool = NodePool(gpus_per_node=8, gpu_memory_gib=40, nodes=4)
        >>> pods = equal_pods("learners", 12, 1, pool)
        >>> pods.count, pods.processes
        (2, 6)
    """
    if not pool.gpus_per_node:
        return Pods(what, processes, 1, 0)
    counts = [n for n in range(1, processes + 1) if processes % n == 0]
    room = max(1, pool.gpus_per_node // gpus_each)
    count = min(n for n in counts if processes // n <= room)
    return Pods(what, count, processes // count, gpus_each * (processes // count))


def split(pods: tuple[Pods, ...], pool: NodePool) -> Split:
    """Put the pods on nodes, the largest first, each on the first node with room for it."""
    if not pool.gpus_per_node:
        return Split(pods, min(pool.nodes, max(p.count for p in pods)), 0, pool)
    free: list[int] = []
    placed: list[list[str]] = []
    single = [one for one in pods for _ in range(one.count)]
    for pod in sorted(single, key=lambda pod: pod.gpus, reverse=True):
        place = next((i for i, left in enumerate(free) if left >= pod.gpus), None)
        if place is None:
            free.append(pool.gpus_per_node)
            placed.append([])
            place = len(free) - 1
        free[place] -= pod.gpus
        placed[place].append(pod.what)
    idle = sum(left for left in free if left > 0)
    return Split(pods, len(free), idle, pool, tuple(map(tuple, placed)))
