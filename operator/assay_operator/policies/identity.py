"""Identity: whether what is finished in the store is what the manifest asks for."""

from collections.abc import Iterator
from typing import Any

from assay_api import (
    Dataset,
    Evaluation,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    TrainingStage,
)
from assay_api.digest import (
    evaluation_digest,
    evaluation_identity,
    spec_digest,
    stage_digest,
    stage_identity,
)
from assay_api.references import identify
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Job, Observed
from assay_operator.policies.completion import is_finished
from assay_operator.policies.dependencies import dataset_digest, inputs_of, resolve_model

Trained = Dataset | TrainingStage | Evaluation


def changed_identity(resource: Trained, observed: Observed) -> Verdict | None:
    """Return how a finished resource differs from what is asked for now; None when it doesn't."""
    owner = identify(resource)
    finished = observed.finished[owner]
    if not all(is_finished(target, observed) for target in inputs_of(resource)):
        # Inputs that are gone can't be compared; what was made of them stays.
        changes = _spec_changes(resource, finished.job)
    elif finished.completion.spec_digest == current_digest(resource, observed):
        return None
    else:
        unknown = "other inputs" if finished.job else "another spec, or other inputs"
        changes = _spec_changes(resource, finished.job) or [unknown]
    if not changes:
        return None
    return Verdict(
        State.FAILED,
        Reason.SPEC_CHANGED,
        f"{_WORDS[owner.kind]} {owner.name} in {observed.store_url} was finished with another spec "
        f"({', '.join(changes)}): give another name or store, or delete {owner.folder}",
    )


_WORDS = {"Dataset": "dataset", "TrainingStage": "stage", "Evaluation": "evaluation"}


def current_digest(resource: Trained, observed: Observed) -> str:
    """Return the `specDigest` that the resource's completion has if it is run now."""
    if isinstance(resource, Dataset):
        return spec_digest(resource.spec)
    model = resolve_model(resource.spec.model, observed, identify(resource))
    dataset = dataset_digest(resource.spec.dataset, observed)
    model_digest = model.digest if model else None
    if isinstance(resource, TrainingStage):
        return stage_digest(resource.spec, model_digest, dataset)
    return evaluation_digest(resource.spec, model_digest, dataset)


def _spec_changes(resource: Trained, job: Job | None) -> list[str]:
    ran = _resource_of(job)
    if ran is None:
        return []
    before, now = dict(_flat(_identity(ran))), dict(_flat(_identity(resource)))
    return [
        f"spec.{path}: {before.get(path)}, now {now.get(path)}"
        for path in [*before, *(path for path in now if path not in before)]
        if before.get(path) != now.get(path)
    ]


def _resource_of(job: Job | None) -> Trained | None:
    if isinstance(job, ResolvedStageJob):
        return job.stage
    if isinstance(job, ResolvedDatasetJob):
        return job.dataset
    if isinstance(job, ResolvedEvaluationJob):
        return job.evaluation
    return None


def _identity(resource: Trained) -> dict[str, Any]:
    if isinstance(resource, TrainingStage):
        return stage_identity(resource.spec)
    if isinstance(resource, Evaluation):
        return evaluation_identity(resource.spec)
    return resource.spec.model_dump(mode="json", by_alias=True)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for i, part in enumerate(value):
            yield from _flat(part, f"{path}[{i}]")
    else:
        yield path, value


def refusals(observed: Observed) -> list[str]:
    """Return why nothing may run: a line for each resource that was finished as another one."""
    found: list[str] = []
    for resource in observed.resources.values():
        if not isinstance(resource, Trained) or not is_finished(identify(resource), observed):
            continue
        verdict = changed_identity(resource, observed)
        if verdict:
            found.append(verdict.message)
    return found
