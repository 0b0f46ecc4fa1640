"""Children: everything that a workload becomes on a cluster. Pure.

Here, and only here, stands which kind of job runs what. Another kind, such as Kubeflow's TrainJob,
would be one more `Launcher` and another line in `_LAUNCHERS`.
"""

from collections.abc import Mapping
from typing import Protocol

from assay_api.errors import InvalidInput
from assay_api.platform import Platform
from assay_operator.children.jobs import build_dataset_job, build_evaluation
from assay_operator.children.network import network_policy
from assay_operator.children.orders import orders_config
from assay_operator.children.owner import Manifest, Owner
from assay_operator.children.pytorchjob import build_pytorchjob
from assay_operator.children.rayjob import build_rayjob
from assay_operator.children.rules import check
from assay_operator.children.serving import build_judge
from assay_operator.children.stages import stage_spec
from assay_operator.decision import Role, Workload


class Launcher(Protocol):
    """Makes the objects that run a workload, the job itself last."""

    def __call__(
        self, workload: Workload, owner: Owner, platform: Platform
    ) -> tuple[Manifest, ...]:
        """Return them; InvalidInput says what does not fit the platform."""
        ...


_LAUNCHERS: Mapping[tuple[Role, str], Launcher] = {
    (Role.TRAIN, "sft"): build_pytorchjob,
    (Role.TRAIN, "fusion"): build_pytorchjob,
    (Role.TRAIN, "rl"): build_rayjob,
    (Role.COLLECT, "fusion"): build_rayjob,
    (Role.DATASET, ""): build_dataset_job,
    (Role.EVALUATE, ""): build_evaluation,
    (Role.SERVE, ""): build_judge,
}
"""What runs a role, and for stages which method."""


def build_children(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the objects that run a workload, in the order in which they are to be made.

    First its orders, then its NetworkPolicy, so that no pod ever runs without; the job itself last,
    so that one that is there has all that it needs. The same workload always gives the same ones.

    Args:
        workload: what is to run.
        owner: the resource that it runs for, as the server knows it.
        platform: what the installation offers.

    Raises:
        InvalidInput: the workload does not fit its node pool, or a child would break a rule that
            its own CRD does not know; a line for each, with field, value and what is allowed.
    """
    jobs = _LAUNCHERS[workload.role, _method(workload)](workload, owner, platform)
    orders = () if workload.role is Role.SERVE else (orders_config(workload, owner),)
    policies = (network_policy(workload, owner, platform),) if platform.network_policies else ()
    children = (*orders, *policies, *jobs)
    problems = check(children)
    if problems:
        raise InvalidInput("\n".join(problems))
    return children


def _method(workload: Workload) -> str:
    if workload.role not in (Role.TRAIN, Role.COLLECT):
        return ""
    spec = stage_spec(workload)
    return next(name for name in ("sft", "rl", "fusion") if getattr(spec, name) is not None)
