"""RayJob: rollout engines and learners on one Ray cluster, as KubeRay 1.6 and 1.7 take it.

The head, without GPU, and the pod that submits the job lie in `cpuPool`. Learners and rollout
engines have a worker group each, with a Ray resource of its own by which they find their place.
The entrypoint, which KubeRay pastes into a shell, holds nothing that a user has written: the
orders are a mounted file.
"""

import shlex
from dataclasses import dataclass

from assay_api.platform import Platform
from assay_api.pod_template import PodTemplate
from assay_operator.children.orders import PATH, orders_name
from assay_operator.children.owner import RAY_METRICS_PORT, Manifest, Owner
from assay_operator.children.placement import (
    Site,
    Size,
    Spread,
    check_nodes,
    cpu_site,
    helper_size,
    job_size,
    site,
    spread,
    submitter_size,
)
from assay_operator.children.pods import Pod, pod_template
from assay_operator.children.stages import (
    GPUS_PER_ROLLOUT_FIELD,
    GRACE_SECONDS,
    LEARNERS_FIELD,
    POOL_FIELD,
    job_metadata,
    stage_spec,
)
from assay_operator.commands import PYTHON, train_arguments
from assay_operator.decision import Role, Workload

START_DEADLINE_SECONDS = 3600
"""A cluster that is not running by then has failed: nothing else ends an endless Initializing."""
GANG = "ray.io/gang-scheduling-enabled"
"""Label by which KubeRay's schedulers start all pods or none."""


_LEARNER = "learner"
_OBJECTS_OF_SHM = 0.8
"""Share of /dev/shm for Ray's objects. Asked for more than there is, Ray puts them on the disk."""
_LEAST_OBJECT_BYTES = 80 * 2**20
"""Ray does not start with less than 75 MiB."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A worker group: equal pods with equal numbers of processes."""

    name: str
    resource: str
    spread: Spread
    gpus_each: int


def build_rayjob(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the RayJob of one attempt of a stage, or of fusion's collection.

    Raises:
        InvalidInput: the stage does not fit its node pool.
    """
    spec = stage_spec(workload)
    where = site(workload, platform, POOL_FIELD, spec.placement.pool)
    groups = _groups(workload, where)
    metadata = job_metadata(workload, owner, where)
    if where.pool.scheduler_name:
        metadata["labels"][GANG] = "true"
    collect_only = workload.role is Role.COLLECT
    entrypoint = (PYTHON, *train_arguments(PATH, collect_only=collect_only))
    return (
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": metadata,
            "spec": {
                "entrypoint": shlex.join(entrypoint),
                # Of this attempt: a submitter that starts anew finds the job that it has submitted.
                "jobId": metadata["name"],
                "submissionMode": "K8sJobMode",
                "submitterPodTemplate": _submitter(workload, platform),
                "shutdownAfterJobFinishes": True,
                "backoffLimit": 0,
                "preRunningDeadlineSeconds": START_DEADLINE_SECONDS,
                "rayClusterSpec": {
                    "rayVersion": platform.ray_version,
                    "headGroupSpec": _head(workload, platform),
                    "workerGroupSpecs": [
                        _worker_group(workload, platform, where, group, groups) for group in groups
                    ],
                },
            },
        },
    )


def _groups(workload: Workload, where: Site) -> list[_Group]:
    """Return the worker groups, after a look whether the pool can hold them together."""
    placement = stage_spec(workload).placement
    engines = spread(
        where, GPUS_PER_ROLLOUT_FIELD, placement.rollouts, gpus_each=placement.gpus_per_rollout
    )
    groups = [_Group("rollouts", "rollout", engines, placement.gpus_per_rollout)]
    what = f"{placement.rollouts} rollouts"
    if workload.role is Role.TRAIN:
        learners = spread(where, LEARNERS_FIELD, placement.learners)
        groups.insert(0, _Group("learners", _LEARNER, learners, 1))
        what = f"{placement.learners} learners and {what}"
    gpus = [
        group.spread.per_pod * group.gpus_each for group in groups for _ in range(group.spread.pods)
    ]
    check_nodes(where, gpus, what)
    return groups


def _worker_group(
    workload: Workload, platform: Platform, where: Site, group: _Group, groups: list[_Group]
) -> Manifest:
    gpus = group.spread.per_pod * group.gpus_each
    pod = Pod(
        component=group.resource,
        container="ray-worker",
        image=platform.images.trainer,
        pool=where.pool,
        size=job_size(where, gpus, sum(other.spread.pods for other in groups)),
        trackers=stage_spec(workload).tracking if group.resource == _LEARNER else (),
        between_nodes=group.resource == _LEARNER and group.spread.pods > 1,
        template=stage_spec(workload).pod_template,
        restart_policy="Never",
        grace_seconds=GRACE_SECONDS,
        metric_processes=group.spread.per_pod,
        ports={"ray-metrics": RAY_METRICS_PORT},
    )
    resources = {
        # Logical ones: an actor for each process, and one for Ray's own.
        "CPU": str(group.spread.per_pod + 1),
        group.resource: str(group.spread.per_pod),
    }
    if where.gpus:
        resources["GPU"] = str(gpus)
    return {
        "groupName": group.name,
        "replicas": group.spread.pods,
        "minReplicas": group.spread.pods,
        "maxReplicas": group.spread.pods,
        "resources": resources,
        "rayStartParams": _start(pod.size),
        "template": pod_template(workload, platform, pod),
    }


def _head(workload: Workload, platform: Platform) -> Manifest:
    where = cpu_site(workload, platform)
    pod = Pod(
        component="head",
        container="ray-head",
        image=platform.images.trainer,
        pool=where.pool,
        size=helper_size(where),
        orders=orders_name(workload),
        template=_off_the_pool(stage_spec(workload).pod_template),
        restart_policy="Never",
        grace_seconds=GRACE_SECONDS,
        ports={
            "gcs-server": 6379,
            "dashboard": 8265,
            "client": 10001,
            # Where there is no port of this name KubeRay adds one, with Ray's metrics behind it.
            "metrics": RAY_METRICS_PORT,
        },
    )
    return {
        "rayStartParams": {
            # Nothing that computes belongs here; what starts the stage needs none.
            "num-cpus": "0",
            "dashboard-host": "0.0.0.0",
            **_start(pod.size),
        },
        "template": pod_template(workload, platform, pod),
    }


def _submitter(workload: Workload, platform: Platform) -> Manifest:
    where = cpu_site(workload, platform)
    pod = Pod(
        component="submitter",
        container="ray-job-submitter",
        image=platform.images.trainer,
        pool=where.pool,
        size=submitter_size(where),
        needs_store=False,
        template=_off_the_pool(stage_spec(workload).pod_template),
        restart_policy="Never",
    )
    return pod_template(workload, platform, pod)


def _start(size: Size) -> dict[str, str]:
    """Return what Ray is started with in a pod of a size."""
    of_shm = int(size.shm_gib * 2**30 * _OBJECTS_OF_SHM)
    return {
        "object-store-memory": str(max(of_shm, _LEAST_OBJECT_BYTES)),
        "metrics-export-port": str(RAY_METRICS_PORT),
    }


def _off_the_pool(template: PodTemplate) -> PodTemplate:
    """Return a stage's template for pods outside of its pool, without the nodes that it chose."""
    return template.model_copy(update={"node_selector": {}, "tolerations": ()})
