"""Who refers to whom, and whether everything that is referred to exists."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from assay_api.base import Model, ModelRef, ModelSource
from assay_api.dataset import Dataset
from assay_api.errors import InvalidInput
from assay_api.evaluation import Evaluation
from assay_api.layout import ResourceId
from assay_api.pipeline import TrainingPipeline
from assay_api.problems import did_you_mean
from assay_api.reward_model import RewardModel
from assay_api.stage import TrainingStage, TrainingStageSpec

AFTER_ANNOTATION = "assay.dev/after"
"""Annotation of a pipeline's stage: name of the TrainingStage that must have succeeded before."""

_MAX_NAME_CHARACTERS = 40

VERIFIER_PROTOCOLS = ("Pairs", "ChatPairs")
"""Protocols by which a RewardModel scores sentences against evidence; Chat scores reasoning."""

Referrer = Dataset | TrainingStage | TrainingPipeline | RewardModel | Evaluation


@dataclass(frozen=True, slots=True)
class Reference:
    """A field of a resource that names another one."""

    owner: ResourceId
    """Who refers: for a pipeline's stage, the TrainingStage that it becomes."""
    field: str
    """Path of the field in the manifest, e.g. `spec.model.fromStage`."""
    target: ResourceId
    """Who is referred to."""


def identify(resource: Model) -> ResourceId:
    """Return the kind and name of a resource."""
    assert isinstance(resource, Referrer)
    return ResourceId(resource.kind, resource.metadata.name)


def model_uri(resource: Model) -> str | None:
    """Return the URI of the model that a resource itself names, if it names one."""
    if not isinstance(resource, TrainingStage | Evaluation | RewardModel):
        return None
    return resource.spec.model.uri if resource.spec.model else None


def pipeline_stage_id(pipeline: str, stage: str) -> ResourceId:
    """Return the TrainingStage that a pipeline's stage becomes."""
    return ResourceId("TrainingStage", f"{pipeline}-{stage}")


def sibling_or_global(pipeline: TrainingPipeline, name: str) -> str:
    """Return the full name of the stage that `fromStage` means inside of a pipeline."""
    siblings = {stage.name for stage in pipeline.spec.stages}
    return pipeline_stage_id(pipeline.metadata.name, name).name if name in siblings else name


def references_of(resource: Model) -> list[Reference]:
    """Return every reference that a resource makes, in the order of its fields."""
    assert isinstance(resource, Referrer)
    if isinstance(resource, TrainingPipeline):
        return _pipeline_references(resource)
    owner = identify(resource)
    found: list[tuple[str, ResourceId]] = []
    if isinstance(resource, TrainingStage):
        found = _stage_references(resource.spec)
        before = resource.metadata.annotations.get(AFTER_ANNOTATION)
        if before:
            field = f"metadata.annotations[{AFTER_ANNOTATION}]"
            found.append((field, ResourceId("TrainingStage", before)))
    elif isinstance(resource, Evaluation):
        found = [
            *_model_reference(resource.spec.model),
            ("spec.dataset", ResourceId("Dataset", resource.spec.dataset)),
        ]
    elif isinstance(resource, RewardModel):
        found = _model_reference(resource.spec.model)
    return [Reference(owner, field, target) for field, target in found]


def _model_reference(model: ModelRef | ModelSource | None) -> list[tuple[str, ResourceId]]:
    if model is None or model.from_stage is None:
        return []
    return [("spec.model.fromStage", ResourceId("TrainingStage", model.from_stage))]


def _stage_references(spec: TrainingStageSpec) -> list[tuple[str, ResourceId]]:
    found = _model_reference(spec.model)
    found.append(("spec.dataset", ResourceId("Dataset", spec.dataset)))
    for i, reward in enumerate(spec.rewards):
        if reward.reward_model is not None:
            target = ResourceId("RewardModel", reward.reward_model)
            found.append((f"spec.rewards[{i}].rewardModel", target))
    if spec.rl is not None and spec.rl.factuality is not None:
        verifier = ResourceId("RewardModel", spec.rl.factuality.verifier)
        found.append(("spec.rl.factuality.verifier", verifier))
    for i, gate in enumerate(spec.gate):
        found.append((f"spec.gate[{i}].evaluation", ResourceId("Evaluation", gate.evaluation)))
    return found


def _pipeline_references(pipeline: TrainingPipeline) -> list[Reference]:
    references: list[Reference] = []
    before: ResourceId | None = None
    for i, stage in enumerate(pipeline.spec.stages):
        owner = pipeline_stage_id(pipeline.metadata.name, stage.name)
        prefix = f"spec.stages[{i}]"
        for path, named in _stage_references(stage.spec):
            is_stage = named.kind == "TrainingStage"
            name = sibling_or_global(pipeline, named.name) if is_stage else named.name
            references.append(Reference(owner, f"{prefix}.{path}", ResourceId(named.kind, name)))
        if before:
            references.append(Reference(owner, prefix, before))
        before = owner
    return references


def stage_ids(resource: Model) -> list[ResourceId]:
    """Return the resource itself and, for a pipeline, the stages it becomes."""
    own = identify(resource)
    if not isinstance(resource, TrainingPipeline):
        return [own]
    return [own, *(pipeline_stage_id(own.name, stage.name) for stage in resource.spec.stages)]


def check_references(
    resources: Sequence[Model],
    sources: Sequence[str] = (),
    existing: Collection[ResourceId] = (),
) -> None:
    """Refuse duplicate names, names that grow too long, missing references and cycles.

    Args:
        resources: what the manifests describe.
        sources: the file of each resource, for messages.
        existing: resources that are there without being described.

    Raises:
        InvalidInput: with a line for each thing that is wrong.
    """
    prefixes = [f"{source}: " for source in sources] or [""] * len(resources)
    problems = [
        *_duplicates(resources, prefixes),
        *_too_long(resources, prefixes),
        *_missing(resources, prefixes, existing),
        *_wrong_protocols(resources, prefixes),
    ]
    references = [reference for resource in resources for reference in references_of(resource)]
    cycle = find_cycle(dependency_graph(references))
    if cycle:
        path = " -> ".join(str(resource) for resource in cycle)
        problems.append(f"the references form a cycle, none of these can start: {path}")
    if problems:
        raise InvalidInput("\n".join(problems))


def _duplicates(resources: Sequence[Model], prefixes: Sequence[str]) -> list[str]:
    problems, first = [], dict[ResourceId, str]()
    for resource, prefix in zip(resources, prefixes, strict=True):
        for found in stage_ids(resource):
            if found in first:
                where = f" in {first[found]}" if first[found] else ""
                problems.append(
                    f"{prefix}{found}: field metadata.name: another {found.kind} has this name"
                    f"{where}; give one of them another"
                )
            first.setdefault(found, prefix.removesuffix(": "))
    return problems


def _too_long(resources: Sequence[Model], prefixes: Sequence[str]) -> list[str]:
    return [
        f"{prefix}{identify(resource)}: field spec.stages: the stage would be called {found.name}, "
        f"{len(found.name)} characters, at most {_MAX_NAME_CHARACTERS} are allowed; shorten one"
        for resource, prefix in zip(resources, prefixes, strict=True)
        for found in stage_ids(resource)
        if len(found.name) > _MAX_NAME_CHARACTERS
    ]


def _missing(
    resources: Sequence[Model], prefixes: Sequence[str], existing: Collection[ResourceId]
) -> list[str]:
    known = {found for resource in resources for found in stage_ids(resource)} | set(existing)
    problems = []
    for resource, prefix in zip(resources, prefixes, strict=True):
        for reference in references_of(resource):
            kind, name = reference.target
            if reference.target in known:
                continue
            names = sorted(found.name for found in known if found.kind == kind)
            there = f"there are: {', '.join(names)}" if names else "there is none at all"
            problems.append(
                f"{prefix}{identify(resource)}: field {reference.field}: no {kind} named {name!r}; "
                f"{there}{did_you_mean(name, names)}"
            )
    return problems


def _wrong_protocols(resources: Sequence[Model], prefixes: Sequence[str]) -> list[str]:
    protocols = {
        identify(resource): resource.spec.protocol
        for resource in resources
        if isinstance(resource, RewardModel)
    }
    problems = []
    for resource, prefix in zip(resources, prefixes, strict=True):
        for reference in references_of(resource):
            found = protocols.get(reference.target)
            if found is None:
                continue
            checks = reference.field.endswith(".factuality.verifier")
            needed = VERIFIER_PROTOCOLS if checks else ("Chat",)
            if found not in needed:
                problems.append(
                    f"{prefix}{identify(resource)}: field {reference.field}: {reference.target} "
                    f"has spec.protocol: {found}; allowed here: {', '.join(needed)}"
                )
    return problems


Graph = Mapping[ResourceId, Sequence[ResourceId]]


def dependency_graph(references: Iterable[Reference]) -> Graph:
    """Return, for each resource that refers to others, those others."""
    graph: dict[ResourceId, list[ResourceId]] = {}
    for reference in references:
        graph.setdefault(reference.owner, []).append(reference.target)
    return graph


def find_cycle(graph: Graph) -> list[ResourceId]:
    """Return a path that ends where it began, or an empty list when there is none."""
    done: set[ResourceId] = set()
    for start in graph:
        path: list[ResourceId] = []
        stack: list[tuple[ResourceId, bool]] = [(start, True)]
        while stack:
            node, entering = stack.pop()
            if not entering:
                done.add(path.pop())
            elif node in path:
                return [*path[path.index(node) :], node]
            elif node not in done:
                path.append(node)
                stack.append((node, False))
                stack.extend((target, True) for target in reversed(graph.get(node, ())))
    return []


def in_order(ids: Sequence[ResourceId], graph: Graph) -> list[ResourceId]:
    """Return the resources so that each comes after those it refers to, otherwise as given."""
    placed: dict[ResourceId, None] = {}

    def place(node: ResourceId) -> None:
        if node in placed:
            return
        for target in graph.get(node, ()):
            place(target)
        placed[node] = None

    for node in ids:
        place(node)
    return [node for node in placed if node in set(ids)]
