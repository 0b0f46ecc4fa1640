"""PyTorchJob: learners under torchrun, for stages that learn from examples.

By the models of the kubeflow-training SDK, whose CRD does not say what its controller needs: the
container is called `pytorch`, Master is 1 and written out, `nprocPerNode` is a number, and nothing
is tried again (`restartPolicy: Never`, no `backoffLimit`), because a new attempt is a new job.
"""

from typing import Any

from assay_api.platform import NodePool, Platform
from assay_operator.children.orders import PATH, orders_name
from assay_operator.children.owner import Manifest, Owner
from assay_operator.children.placement import Spread, check_nodes, job_size, site, spread
from assay_operator.children.pods import Pod, pod_template
from assay_operator.children.stages import (
    GRACE_SECONDS,
    LEARNERS_FIELD,
    POOL_FIELD,
    job_metadata,
    stage_spec,
)
from assay_operator.commands import PYTHON, train_arguments
from assay_operator.decision import Workload

CONTAINER = "pytorch"
"""Name that the training-operator looks for."""
_LAUNCHER_SECONDS = 10
"""Time that torchrun has to end itself, after it has waited for its processes."""


def build_pytorchjob(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the PyTorchJob of one attempt of a stage.

    Raises:
        InvalidInput: the stage does not fit its node pool.
    """
    spec = stage_spec(workload)
    where = site(workload, platform, POOL_FIELD, spec.placement.pool)
    learners = spread(where, LEARNERS_FIELD, spec.placement.learners)
    check_nodes(where, [learners.per_pod] * learners.pods, f"{spec.placement.learners} learners")
    pod = Pod(
        component="learner",
        container=CONTAINER,
        image=platform.images.trainer,
        pool=where.pool,
        size=job_size(where, learners.per_pod, learners.pods),
        # torchrun takes its places from the PET_* variables that the training-operator sets.
        command=(PYTHON, "-m", "torch.distributed.run", *train_arguments(PATH)),
        env={
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS - _LAUNCHER_SECONDS),
            # As torchrun sets it where there are several; unset, it warns of it in every log.
            **({"OMP_NUM_THREADS": "1"} if learners.per_pod > 1 else {}),
        },
        trackers=spec.tracking,
        orders=orders_name(workload),
        between_nodes=learners.pods > 1,
        template=spec.pod_template,
        grace_seconds=GRACE_SECONDS,
        metric_processes=learners.per_pod,
    )
    template = pod_template(workload, platform, pod)
    priority = spec.pod_template.priority_class or where.pool.priority_class
    metadata = job_metadata(workload, owner, where)
    return (_serialised(metadata, template, learners, _gang(where.pool, learners, priority)),)


def _gang(pool: NodePool, learners: Spread, priority: str | None) -> Manifest | None:
    if pool.scheduler_name is None:
        return None
    return {"min_available": learners.pods, "priority_class": priority}


def _serialised(
    metadata: Manifest, template: Manifest, learners: Spread, gang: Manifest | None
) -> Manifest:
    # Imported by those who need it: the SDK loads the whole client of Kubernetes with it.
    from kubeflow.training import models
    from kubeflow.training.api_client import ApiClient

    def replicas(count: int) -> Any:
        return models.KubeflowOrgV1ReplicaSpec(
            replicas=count, restart_policy="Never", template=template
        )

    specs = {"Master": replicas(1)}
    if learners.pods > 1:
        specs["Worker"] = replicas(learners.pods - 1)
    policy = models.KubeflowOrgV1RunPolicy(
        clean_pod_policy="Running",
        scheduling_policy=models.KubeflowOrgV1SchedulingPolicy(**gang) if gang else None,
    )
    job = models.KubeflowOrgV1PyTorchJob(
        api_version="kubeflow.org/v1",
        kind="PyTorchJob",
        metadata=metadata,
        spec=models.KubeflowOrgV1PyTorchJobSpec(
            nproc_per_node=str(learners.per_pod),
            run_policy=policy,
            pytorch_replica_specs=specs,
        ),
    )
    found: Manifest = ApiClient().sanitize_for_serialization(job)
    return found
