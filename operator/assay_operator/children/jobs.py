"""Jobs of Kubernetes itself: datasets and evaluations, which are one pod each."""

from assay_api.platform import Platform
from assay_api.resolved import ResolvedEvaluationJob
from assay_operator.children.orders import PATH, orders_name
from assay_operator.children.owner import Manifest, Owner, is_scheduled
from assay_operator.children.placement import cpu_site, helper_size, single_size, site
from assay_operator.children.pods import Pod, pod_template
from assay_operator.children.schedules import least_period_seconds
from assay_operator.children.stages import job_metadata
from assay_operator.commands import PYTHON, dataset_arguments, evaluation_arguments
from assay_operator.decision import Workload

KEPT_RUNS = 3
"""Finished runs of a schedule that are kept, of each outcome."""
_LATEST_START_SECONDS = 3600
"""A scheduled run that could not start for so long is left out."""


def build_dataset_job(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the Job that makes a dataset; it needs no GPU."""
    where = cpu_site(workload, platform)
    pod = Pod(
        component="dataset",
        container="dataset",
        image=platform.images.data,
        pool=where.pool,
        size=helper_size(where),
        command=(PYTHON, *dataset_arguments(PATH)),
        orders=orders_name(workload),
        restart_policy="Never",
        metric_processes=1,
    )
    spec = _job_spec(pod_template(workload, platform, pod))
    return (_job(job_metadata(workload, owner, where), spec),)


def build_evaluation(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the Job of an evaluation, or its CronJob.

    Raises:
        InvalidInput: there is no such pool, or the schedule is none.
    """
    assert isinstance(workload.orders, ResolvedEvaluationJob), "an evaluation is told of one"
    spec = workload.orders.evaluation.spec
    where = site(workload, platform, "spec.pool", spec.pool)
    pod = Pod(
        component="evaluation",
        container="evaluation",
        image=platform.images.trainer,
        pool=where.pool,
        size=single_size(where),
        command=(PYTHON, *evaluation_arguments(PATH)),
        orders=orders_name(workload),
        restart_policy="Never",
        metric_processes=1,
    )
    job = _job_spec(pod_template(workload, platform, pod))
    metadata = job_metadata(workload, owner, where)
    if not is_scheduled(workload):
        return (_job(metadata, job),)
    assert spec.schedule is not None, "it is scheduled"
    period = least_period_seconds(workload.owner, spec.schedule)
    return (_cron_job(metadata, spec.schedule, period, job),)


def _job(metadata: Manifest, spec: Manifest) -> Manifest:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _job_spec(template: Manifest) -> Manifest:
    return {
        "backoffLimit": 0,
        # Changes no outcome, but says of one that it was the cluster's doing: the Job's reason is
        # then PodFailurePolicy, also when the pod is gone.
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }
            ]
        },
        "template": template,
    }


def _cron_job(metadata: Manifest, schedule: str, period: int, job: Manifest) -> Manifest:
    """Return the CronJob.

    A start may be late by more than the controller's own pauses, and by less than a period: after
    100 missed starts within the deadline a CronJob would stop for good.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": min(period - 60, _LATEST_START_SECONDS),
            "successfulJobsHistoryLimit": KEPT_RUNS,
            "failedJobsHistoryLimit": KEPT_RUNS,
            "suspend": False,
            "jobTemplate": {
                # Each run is admitted by itself: its label for the queue is here too.
                "metadata": {"labels": metadata["labels"]},
                "spec": job,
            },
        },
    }
