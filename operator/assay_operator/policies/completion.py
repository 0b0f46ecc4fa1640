"""Completion: what proves success, and when a finished workload has outstayed it."""

from assay_api import TrainingStage
from assay_api.layout import ResourceId
from assay_api.running import Retry
from assay_operator.observed import Observed
from assay_operator.policies.attempts import Failure, current_failure

EXIT_PATIENCE_SECONDS = 20.0
"""Time a process has to end by itself after it wrote its completion."""
JOB_EXIT_PATIENCE_SECONDS = 120.0
"""Time a Kubernetes job has for the same: its own operator must see the end of its pods first."""


def is_finished(resource: ResourceId, observed: Observed) -> bool:
    """Tell whether the resource is finished: proven by the store, whatever its processes say."""
    return resource in observed.finished


def outstays(resource: ResourceId, observed: Observed) -> bool:
    """Tell whether a finished resource's workload hangs on its way out."""
    found = observed.finished.get(resource)
    if found is None or observed.live_attempt(resource) is None:
        return False
    patience = JOB_EXIT_PATIENCE_SECONDS if observed.on_cluster else EXIT_PATIENCE_SECONDS
    return observed.now_seconds - found.seen_seconds > patience


def retry_of(resource: ResourceId, observed: Observed) -> Retry:
    """Return the budgets of new attempts; kinds that have none of their own get the defaults."""
    found = observed.resources.get(resource)
    return found.spec.retry if isinstance(found, TrainingStage) else Retry()


def failure_of(resource: ResourceId, observed: Observed) -> Failure | None:
    """Return what the failed attempts of an unfinished resource add up to, if the last failed."""
    if is_finished(resource, observed):
        return None
    attempts, forgotten = observed.attempts_of(resource), observed.forgotten.get(resource)
    return current_failure(attempts, retry_of(resource, observed), forgotten)


def has_failed(resource: ResourceId, observed: Observed) -> bool:
    """Tell whether the resource is unfinished and will not be tried again."""
    failure = failure_of(resource, observed)
    return failure is not None and failure.final


def is_suspended(resource: ResourceId, observed: Observed) -> bool:
    """Tell whether the user wants the resource to rest."""
    found = observed.resources.get(resource)
    return isinstance(found, TrainingStage) and found.spec.suspend


def is_under_way(resource: ResourceId, observed: Observed) -> bool:
    """Tell whether the resource was started and is going to finish, as far as one can see."""
    started = bool(observed.attempts_of(resource))
    return started and not (
        is_finished(resource, observed)
        or has_failed(resource, observed)
        or is_suspended(resource, observed)
    )
