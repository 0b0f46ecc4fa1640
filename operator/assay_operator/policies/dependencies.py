"""Dependencies: what a resource waits for, and what its references stand for."""

from collections.abc import Iterable

from assay_api.base import ModelRef, ModelSource
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import references_of
from assay_api.resolved import ResolvedModel
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Observed
from assay_operator.policies.completion import has_failed, is_finished, is_suspended

_REASONS = {
    "TrainingStage": Reason.WAITING_FOR_STAGE,
    "Dataset": Reason.WAITING_FOR_DATASET,
    "Evaluation": Reason.GATE_NOT_PASSED,
}


def inputs_of(resource: Resource) -> list[ResourceId]:
    """Return what must be finished before the resource can start, reward models left out."""
    targets = (reference.target for reference in references_of(resource))
    return [target for target in targets if target.kind != "RewardModel"]


def waiting_for_inputs(resource: Resource, observed: Observed) -> Verdict | None:
    """Return why the resource can't start yet; None when all of its inputs are finished."""
    return waiting_for(inputs_of(resource), observed)


def waiting_for(targets: Iterable[ResourceId], observed: Observed) -> Verdict | None:
    """Return which of the targets is not finished, and why; None when all are."""
    for target in targets:
        if not is_finished(target, observed):
            state = _how_it_stands(target, observed)
            return Verdict(State.BLOCKED, _REASONS[target.kind], f"{target} {state}")
    return None


def _how_it_stands(target: ResourceId, observed: Observed) -> str:
    if target not in observed.resources:
        return f"is not finished in {observed.store_url}; apply its manifest too"
    if has_failed(target, observed):
        return "has failed; mend that first"
    if is_suspended(target, observed):
        return "is suspended; set its spec.suspend to false"
    if target in observed.newest:
        step = observed.newest[target].summary.get("step", "?")
        return f"has no result of the finished model yet; its newest is of step {step}"
    if observed.live_attempt(target):
        return "is running"
    return "has not finished yet"


def resolve_model(
    source: ModelSource | ModelRef, observed: Observed, owner: ResourceId
) -> ResolvedModel | None:
    """Return the model that a source stands for, with the digest of a stage's result.

    None for a model from scratch. A stage that is referred to must be finished. A model of the Hub
    is at the commit that its owner has noted; without a note the owner's workload makes one.
    """
    if source.uri is not None:
        pin = observed.pin(owner, source.uri)
        if pin is not None:
            return ResolvedModel(uri=pin.pinned_uri, digest=pin.commit)
        return ResolvedModel(uri=source.uri, digest=None)
    if source.from_stage is None:
        return None
    stage = ResourceId("TrainingStage", source.from_stage)
    completion = observed.finished[stage].completion
    return ResolvedModel(
        uri=observed.url(stage, completion.result), digest=completion.digest or None
    )


def dataset_digest(name: str, observed: Observed) -> str:
    """Return the digest of a finished dataset."""
    return observed.finished[ResourceId("Dataset", name)].completion.digest
