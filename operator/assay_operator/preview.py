"""Preview: the workloads of resources as if all that they wait for were finished.

What only a finished input can tell, its digest, stays unset: nothing is made up. A model that a
stage makes is the address at which it will lie.
"""

from collections.abc import Sequence
from dataclasses import replace

from assay_api import Completion, Dataset, Evaluation, RewardModel, TrainingStage
from assay_api.manifests import Resource
from assay_api.references import identify, references_of
from assay_operator.children.owner import judge_url
from assay_operator.decision import Role, Workload
from assay_operator.observed import Attempt, Finished, Observed
from assay_operator.policies.identity import current_digest
from assay_operator.policies.watching import MODEL_FOLDER, watched_id
from assay_operator.workloads import (
    dataset_workload,
    evaluation_workload,
    serve_workload,
    stage_workload,
)


def preview(resource: Resource, resources: Sequence[Resource], store: str) -> tuple[Workload, ...]:
    """Return the workloads that a resource becomes, in the order in which they run.

    Args:
        resource: the resource; a pipeline has none of its own, its stages have.
        resources: all resources, for the reward models that stages ask.
        store: URL of the installation's store; the resource's namespace lies in it.
    """
    observed = _with_all_inputs(resource, resources, store)
    match resource:
        case Dataset():
            return (dataset_workload(resource, observed),)
        case TrainingStage():
            return _stage_workloads(resource, observed)
        case Evaluation():
            return (evaluation_workload(resource, observed),)
        case RewardModel() if resource.spec.model is not None:
            return (serve_workload(resource, observed),)
        case _:
            return ()


def _stage_workloads(stage: TrainingStage, observed: Observed) -> tuple[Workload, ...]:
    first = stage_workload(stage, observed)
    if first.role is not Role.COLLECT:
        return (first,)
    collected = {first.owner: current_digest(stage, observed)}
    after = replace(observed, collected=collected, last_attempt={first.owner: first.attempt})
    return first, stage_workload(stage, after)


def _with_all_inputs(resource: Resource, resources: Sequence[Resource], store: str) -> Observed:
    """Return the world in which everything that a resource refers to is there."""
    namespace = resource.metadata.namespace
    by_id = {identify(found): found for found in resources}
    targets = {reference.target for reference in references_of(resource)}
    watched = by_id.get(watched_id(resource) or identify(resource))
    if watched is not None:
        targets |= {reference.target for reference in references_of(watched)}
    judges = {target for target in targets if target.kind == "RewardModel"}
    served = {judge: Attempt(1, 0.0, url=judge_url(judge.name, namespace)) for judge in judges}
    results = {"TrainingStage": MODEL_FOLDER}
    return Observed(
        store_url=f"{store.rstrip('/')}/{namespace}",
        now_seconds=0.0,
        resources=by_id,
        finished={
            target: Finished(
                Completion(spec_digest="", digest="", result=results.get(target.kind, "."))
            )
            for target in targets - judges
        },
        attempts={judge: (attempt,) for judge, attempt in served.items()},
        on_cluster=True,
    )
