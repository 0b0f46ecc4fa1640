"""Memory and disk of a host: what a pod's processes hold beside their GPUs, and in /dev/shm.

Source: `assay_trainer.models.policy` (weights are read on the host first, exported as copies),
`assay_trainer.rollout.pool` (Ray's object store holds the exported weights, the new before the old
ones go), `save_checkpoint` of DeepSpeed 0.19.8 (the first learner copies the state to the host).
"""

from dataclasses import dataclass

from assay_api.platform import NodePool
from assay_operator.sizing.terms import GIB, Term, total_bytes

LEARNER_GIB = {True: 4.0, False: 1.0}
"""Python, torch and Ray's client, on GPUs and without. An assumption; without, 0.9 was measured
with a tiny model (docs/measurements/tiny-recipe.md)."""
ENGINE_GIB = {True: 8.0, False: 1.5}
"""The same of vLLM, with its buffers for media; without GPUs 2.0 was measured, 0.5 of it cache."""
NCCL_SHM_BYTES = GIB // 4
"""NCCL's buffers in /dev/shm for one process on a GPU. An assumption."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What a pod writes."""

    own: tuple[Term, ...]
    """Into volumes of its own."""
    copies: tuple[Term, ...]
    """Copies of what lies in the store: in the pod's own cache, or in one that pods share."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one of a kind of pods needs of its node."""

    what: str
    terms: tuple[Term, ...]
    """Memory, /dev/shm included."""
    shm_bytes: int
    disk: Disk
    pool: NodePool
    share: float
    """Of its node, that the pod has."""
    shared_cache_bytes: int | None = None
    """Size of the cache that pods share; None: each has its own."""

    @property
    def num_bytes(self) -> int:
        """All of its memory."""
        return total_bytes(self.terms)

    @property
    def memory_available(self) -> int:
        """Memory that the pod has."""
        return int(self.pool.memory_gib * self.share * GIB)

    @property
    def shm_available(self) -> int:
        """/dev/shm that the pod has."""
        return int(self.pool.shm_gib * self.share * GIB)

    @property
    def disk_terms(self) -> tuple[Term, ...]:
        """What lies on the pod's own disk."""
        return self.disk.own if self.shared_cache_bytes else (*self.disk.copies, *self.disk.own)

    @property
    def disk_bytes(self) -> int:
        """All of that."""
        return total_bytes(self.disk_terms)

    @property
    def disk_available(self) -> int:
        """Disk that the pod has; 0: the pool does not tell, and nothing limits it."""
        return int(self.pool.disk_gib * self.share * GIB)

    @property
    def problems(self) -> list[str]:
        """What is not there."""
        asked = [
            ("host memory", self.num_bytes, self.memory_available),
            ("/dev/shm", self.shm_bytes, self.shm_available),
        ]
        if self.disk_available:
            asked.append(("disk", self.disk_bytes, self.disk_available))
        found = [
            f"{name} of a pod of {self.what}: {needed / GIB:.1f} GiB are needed, "
            f"{there / GIB:.1f} GiB is its share of the node"
            for name, needed, there in asked
            if needed > there
        ]
        copies, cache = total_bytes(self.disk.copies), self.shared_cache_bytes
        if cache and copies > cache:
            found.append(
                f"cache.sizeGib: {copies / GIB:.1f} GiB are copied for a pod of {self.what}, the "
                f"shared cache keeps {cache / GIB:.1f} GiB"
            )
        return found


def learner_host(
    learners: int,
    *,
    on_gpu: bool,
    model_bytes: int,
    trained_bytes: int,
    exported_bytes: int,
    pixel_bytes: int,
) -> tuple[tuple[Term, ...], int]:
    """Return memory and /dev/shm of a pod of learners, the first learner among them.

    Args:
        learners: processes in the pod.
        on_gpu: whether they use GPUs.
        model_bytes: all weights.
        trained_bytes: those that train.
        exported_bytes: what the samplers are sent after a step; 0: there are none.
        pixel_bytes: patches of all clips of one learner's step.
    """
    loading, saving = learners * model_bytes, trained_bytes + exported_bytes
    shm = _shm(learners, on_gpu, exported_bytes)
    return (
        _processes(learners, LEARNER_GIB[on_gpu]),
        Term(
            "weights on the way",
            max(loading, saving),
            f"the larger of {learners} x the model (read before they go to the GPU) and what is "
            "trained for the checkpoint with a copy for the samplers",
        ),
        Term("pixels of the step", learners * pixel_bytes, "patches of all clips, float32"),
        Term("/dev/shm", shm, _SHM_WHY),
    ), shm


def engine_host(engines: int, *, on_gpu: bool, exported_bytes: int) -> tuple[tuple[Term, ...], int]:
    """Return memory and /dev/shm of a pod of rollout engines or judges."""
    shm = _shm(engines, on_gpu, exported_bytes)
    return (
        _processes(engines, ENGINE_GIB[on_gpu]),
        Term("/dev/shm", shm, _SHM_WHY),
    ), shm


_SHM_WHY = "two versions of the samplers' weights; NCCL 0.25 GiB a process on a GPU"


def _shm(processes: int, on_gpu: bool, exported_bytes: int) -> int:
    return 2 * exported_bytes + (processes * NCCL_SHM_BYTES if on_gpu else 0)


def _processes(count: int, gib: float) -> Term:
    return Term("processes", int(count * gib * GIB), f"{count} x {gib:g} GiB, assumed")
