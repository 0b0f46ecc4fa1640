"""Watching: an evaluation with a schedule looks at a stage from its first checkpoint on."""

from assay_api import Completion, Evaluation, ResolvedStart, TrainingStage, WatchedStage
from assay_api.digest import evaluation_digest
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Observed
from assay_operator.policies.completion import is_finished
from assay_operator.policies.dependencies import (
    dataset_digest,
    resolve_model,
    waiting_for,
    waiting_for_inputs,
)

MODEL_FOLDER = "model"
"""Where in a stage's folder its result lies."""


def watched_id(resource: Resource) -> ResourceId | None:
    """Return the stage that an evaluation looks at again and again; None: it looks at none."""
    if not isinstance(resource, Evaluation) or resource.spec.schedule is None:
        return None
    name = resource.spec.model.from_stage
    return ResourceId("TrainingStage", name) if name else None


def waiting_to_watch(evaluation: Evaluation, observed: Observed) -> Verdict | None:
    """Return why a schedule can't be kept yet; None: it can.

    The stage itself need not have finished, nor even begun: what its checkpoints are loaded into
    must be there, which it needs to begin as well.
    """
    watched = watched_id(evaluation)
    if watched is None or watched not in observed.resources:
        return waiting_for_inputs(evaluation, observed)
    dataset = ResourceId("Dataset", evaluation.spec.dataset)
    missing = waiting_for([dataset], observed)
    if missing or is_finished(watched, observed):
        return missing
    blocked = waiting_for(_start_inputs(watched, observed), observed)
    if blocked is None:
        return None
    message = f"{watched} has no checkpoint to look at: {blocked.message}"
    return Verdict(State.BLOCKED, Reason.WAITING_FOR_STAGE, message)


def watched_stage(watched: ResourceId, observed: Observed) -> WatchedStage:
    """Return what to tell of a stage that is looked at: the same while it trains and afterwards."""
    found = observed.resources.get(watched)
    start = None
    inputs = _start_inputs(watched, observed)
    if isinstance(found, TrainingStage) and all(is_finished(i, observed) for i in inputs):
        spec = found.spec
        start = ResolvedStart(
            model=resolve_model(spec.model, observed, watched),
            scratch=spec.model.scratch,
            dataset=observed.dataset_url(spec.dataset),
            prompt=spec.prompt,
            answer=spec.answer,
            lora=spec.lora,
            precision=spec.placement.precision,
        )
    return WatchedStage(name=watched.name, url=observed.url(watched), start=start)


def _start_inputs(watched: ResourceId, observed: Observed) -> list[ResourceId]:
    """Return what must be finished before a stage's checkpoints can be loaded; gates are not."""
    found = observed.resources.get(watched)
    if not isinstance(found, TrainingStage):
        return []
    model = found.spec.model.from_stage
    stages = [ResourceId("TrainingStage", model)] if model else []
    return [*stages, ResourceId("Dataset", found.spec.dataset)]


def newest_result(evaluation: Evaluation, observed: Observed) -> Completion | None:
    """Return the newest result of an evaluation: its only one, or by its schedule.

    A result of another spec, or on another dataset, is none of this evaluation.
    """
    owner = identify(evaluation)
    newest = observed.newest.get(owner)
    dataset = ResourceId("Dataset", evaluation.spec.dataset)
    if newest is None or watched_id(evaluation) is None or not is_finished(dataset, observed):
        return observed.completion(owner)
    digest = dataset_digest(dataset.name, observed)
    is_ours = newest.spec_digest == evaluation_digest(evaluation.spec, newest.digest, digest)
    return newest if is_ours else observed.completion(owner)
