"""GPUs of this machine: how many there are, what needs how many, and which process has which.

Every process that uses GPUs has them for itself: it sees no others (`CUDA_VISIBLE_DEVICES`). Ray
divides those of a stage among its learners and engines.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from assay_api import Evaluation, RewardModel, TrainingStage
from assay_api.devices import built_for_gpus, wanted_device
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify
from assay_operator.decision import Role, Workload
from assay_operator.observed import Observed
from assay_operator.policies.completion import is_finished
from assay_operator.policies.serving import consumers_next, judges_of

_LOG = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable that says which GPUs a process sees, by number."""
_LISTED_WITHIN_SECONDS = 60.0


@dataclass(slots=True)
class Gpus:
    """The GPUs of this machine, and who has them."""

    ids: tuple[str, ...] = ()
    """As `CUDA_VISIBLE_DEVICES` names them; none: everything runs on CPUs."""
    hidden: bool = False
    """Whether there are some that nothing here may use."""
    lent: dict[ResourceId, tuple[str, ...]] = field(default_factory=dict)
    """The GPUs of each live workload."""

    def lend(self, owner: ResourceId, count: int) -> Mapping[str, str]:
        """Give a workload GPUs of its own; return the variables by which it sees only these."""
        if not self.ids:
            return {VISIBLE: ""} if self.hidden else {}
        taken = {id_ for ids in self.lent.values() for id_ in ids}
        free = [id_ for id_ in self.ids if id_ not in taken]
        assert owner not in self.lent and count <= len(free), f"no room for {owner}"
        self.lent[owner] = tuple(free[:count])
        return {VISIBLE: ",".join(self.lent[owner])}

    def take_back(self, owner: ResourceId) -> None:
        """Take the GPUs of a workload that has ended."""
        self.lent.pop(owner, None)


def machine_gpus(environ: Mapping[str, str] = os.environ) -> Gpus:
    """Return the GPUs that a run on this machine may use.

    Those that `CUDA_VISIBLE_DEVICES` names; unset: all that the driver lists. None where the set-up
    is built for CPUs, or `ASSAY_GPUS` is 0.
    """
    told = environ.get(VISIBLE)
    ids = _listed() if told is None else visible_ids(told)
    wanted = wanted_device(environ, gpu_build=built_for_gpus())
    if ids and not wanted.num_gpus:
        _LOG.warning(
            "this machine has %d GPUs, and they are not used: %s; make setup ACCELERATOR=gpu "
            "installs the build for GPUs",
            len(ids),
            wanted.reason,
        )
        return Gpus(hidden=True)
    return Gpus(ids)


def visible_ids(told: str) -> tuple[str, ...]:
    """Return the GPUs that a value of `CUDA_VISIBLE_DEVICES` names; CUDA reads up to the first -1.

    Example:
        >>> visible_ids("2, 0"), visible_ids("1,-1,0"), visible_ids("")
        (('2', '0'), ('1',), ())
    """
    ids: list[str] = []
    for part in (part.strip() for part in told.split(",")):
        if not part or part.startswith("-"):
            break
        ids.append(part)
    return tuple(ids)


def gpus_needed(resource: Resource) -> int:
    """Return the GPUs of a resource's workload on a machine that has some.

    Fusion samples first, then trains on the same GPUs.
    """
    match resource:
        case TrainingStage():
            learners, rollouts = resource.spec.placement.learners, resource.spec.placement.rollouts
            if resource.spec.sft is not None:
                return learners
            return max(learners, rollouts) if resource.spec.fusion else learners + rollouts
        case Evaluation():
            return 1
        case RewardModel():
            return 1 if resource.spec.model is not None else 0
        case _:
            return 0


def too_few(observed: Observed, gpus: Gpus) -> list[str]:
    """Return a line for each unfinished stage that needs more GPUs than there are, judges counted.

    A machine without GPUs runs everything on CPUs.
    """
    there = len(gpus.ids)
    problems = []
    for owner, resource in observed.resources.items():
        if not there or not isinstance(resource, TrainingStage) or is_finished(owner, observed):
            continue
        judges = [judge for judge in judges_of(resource) if _needed(judge, observed)]
        needed = gpus_needed(resource) + len(judges)
        if needed <= there:
            continue
        placement = resource.spec.placement
        parts = [f"learners: {placement.learners}"]
        parts += [] if resource.spec.sft else [f"rollouts: {placement.rollouts}"]
        parts += [f"{judge}: 1" for judge in judges]
        problems.append(
            f"{owner}: field spec.placement: needs {needed} GPUs ({', '.join(parts)}), this run "
            f"has {there} ({VISIBLE}={','.join(gpus.ids)}): ask for fewer, or run it where there "
            "are more; without GPUs it runs on CPUs (make setup ACCELERATOR=cpu)"
        )
    return problems


def with_room(due: Sequence[Workload], observed: Observed, total: int) -> list[Workload]:
    """Return those of some workloads, in order, that find free GPUs beside what is live.

    A server is started only when a stage that asks it could start then: one that came sooner could
    keep the GPUs that what comes before that stage waits for.

    Args:
        due: what is to start.
        observed: what is.
        total: GPUs of the machine; 0: nothing needs one.
    """
    if not total:
        return list(due)
    live = {owner for owner in observed.resources if observed.live_attempt(owner)}
    chosen = []
    for workload in due:
        if _sum([*live, workload.owner], observed) > total:
            continue
        if workload.role is Role.SERVE and not _is_next(workload.owner, live, observed, total):
            continue
        live.add(workload.owner)
        chosen.append(workload)
    return chosen


def _is_next(judge: ResourceId, live: set[ResourceId], observed: Observed, total: int) -> bool:
    """Tell whether a stage that asks the judge could run beside the judges that are served then."""
    servers = {owner for owner in live if owner.kind == "RewardModel"} | {judge}
    return any(
        _sum({identify(stage), *servers, *judges_of(stage)}, observed) <= total
        for stage in consumers_next(judge, observed)
    )


def _sum(owners: Iterable[ResourceId], observed: Observed) -> int:
    return sum(_needed(owner, observed) for owner in owners)


def _needed(owner: ResourceId, observed: Observed) -> int:
    resource = observed.resources.get(owner)
    return gpus_needed(resource) if resource is not None else 0


def _listed() -> tuple[str, ...]:
    """Return the numbers of the GPUs that NVIDIA's driver lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_LISTED_WITHIN_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.warning("%s lists no GPUs (%s): this run uses none", program, error)
        return ()
    return tuple(done.stdout.split())
