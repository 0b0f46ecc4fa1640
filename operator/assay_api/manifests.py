"""Manifests in, checked resources out; everything that is wrong is told at once."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydantic import ValidationError

from assay_api.dataset import Dataset
from assay_api.documents import Document, apply_overrides, parse_documents, read_documents
from assay_api.errors import InvalidInput
from assay_api.evaluation import Evaluation
from assay_api.layout import ResourceId
from assay_api.pipeline import TrainingPipeline
from assay_api.problems import did_you_mean, explain_invalid
from assay_api.references import check_references, references_of
from assay_api.reward_model import RewardModel
from assay_api.stage import TrainingStage

Resource = Dataset | TrainingStage | TrainingPipeline | RewardModel | Evaluation
"""Any of the custom resources."""

KINDS: dict[str, type[Resource]] = {
    "Dataset": Dataset,
    "TrainingStage": TrainingStage,
    "TrainingPipeline": TrainingPipeline,
    "RewardModel": RewardModel,
    "Evaluation": Evaluation,
}
"""The custom resources by their kind."""


def parse_manifests(text: str, source: str) -> list[Resource]:
    """Return the resources of a YAML text; references between them are not looked at.

    Args:
        text: the content of a file, one or more documents.
        source: its name, for messages.

    Raises:
        InvalidInput: with a line for each thing that is wrong.
    """
    return build_resources(parse_documents(text, source))


def build_resources(documents: Sequence[Document]) -> list[Resource]:
    """Return the resources that the documents describe.

    Raises:
        InvalidInput: with a line for each thing that is wrong in any of them.
    """
    resources: list[Resource] = []
    problems: list[str] = []
    for document in documents:
        built, found = _build(document)
        resources.extend(built)
        problems.extend(f"{document.source}: {line}" for line in found)
    if problems:
        raise InvalidInput("\n".join(problems))
    return resources


def _build(document: Document) -> tuple[list[Resource], list[str]]:
    kind: Any = document.body.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        hint = did_you_mean(str(kind), KINDS)
        return [], [
            f"{document.label}: field kind: got {kind!r}, allowed: {', '.join(KINDS)}{hint}"
        ]
    try:
        return [model.model_validate(document.body)], []
    except ValidationError as error:
        return [], [f"{document.label}: {line}" for line in explain_invalid(model, error)]


def load(
    paths: Sequence[str],
    overrides: Sequence[str] = (),
    exists: Callable[[ResourceId], bool] = lambda _: False,
) -> list[Resource]:
    """Return the resources of files and folders, in order, with their references checked.

    Args:
        paths: files, or folders whose *.yaml and *.yml files are read in sorted order.
        overrides: `PATH=VALUE`, see `apply_overrides`.
        exists: tells whether a resource that no file describes is there all the same (finished
            by an earlier run).

    Raises:
        InvalidInput: with a line for each thing that is wrong.
    """
    documents = apply_overrides(read_documents(paths), overrides)
    resources = build_resources(documents)
    check_references(
        resources, [document.source for document in documents], _existing(resources, exists)
    )
    return resources


def _existing(
    resources: Sequence[Resource], exists: Callable[[ResourceId], bool]
) -> Collection[ResourceId]:
    wanted = {reference.target for resource in resources for reference in references_of(resource)}
    return {target for target in sorted(wanted) if exists(target)}
