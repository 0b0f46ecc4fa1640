"""What the builders of a stage's jobs have in common."""

from assay_api.resolved import ResolvedStageJob
from assay_api.stage import TrainingStageSpec
from assay_operator.children.owner import Manifest, Owner, child_name, metadata
from assay_operator.children.placement import Site
from assay_operator.decision import Workload

POOL_FIELD = "spec.placement.pool"
"""The field that names a stage's pool."""
LEARNERS_FIELD = "spec.placement.learners"
"""The field with the number of learner processes."""
GPUS_PER_ROLLOUT_FIELD = "spec.placement.gpusPerRollout"
"""The field with the GPUs of one rollout engine."""
GRACE_SECONDS = 120
"""Time that a stage has to write a checkpoint when it is asked to end."""

_QUEUE = "kueue.x-k8s.io/queue-name"


def stage_spec(workload: Workload) -> TrainingStageSpec:
    """Return the spec of the stage that a workload runs."""
    assert isinstance(workload.orders, ResolvedStageJob), "a stage is told of a stage"
    return workload.orders.stage.spec


def job_metadata(workload: Workload, owner: Owner, where: Site) -> Manifest:
    """Return the metadata of a job, with the label by which Kueue admits it."""
    found = metadata(workload, owner, child_name(workload))
    queue = {_QUEUE: where.pool.queue} if where.pool.queue else {}
    return {**found, "labels": {**found["labels"], **queue}}
