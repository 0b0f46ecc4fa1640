"""What may not change any more once a resource has been worked on: what its result depends on."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from assay_api.base import Model
from assay_api.crd.rules import Rule
from assay_api.dataset import Dataset, DatasetSpec
from assay_api.digest import EVALUATION_FREE_TO_CHANGE, STAGE_FREE_TO_CHANGE
from assay_api.evaluation import Evaluation, EvaluationSpec
from assay_api.stage import TrainingStage, TrainingStageSpec

_STARTED = (
    "(oldSelf.?status.?attempt.orValue(0) > 0 || oldSelf.?status.?conditions.orValue([])"
    ".exists(found, found.type == 'Succeeded' && found.status == 'True'))"
)


def immutability_rules(kind: type[Model]) -> tuple[Rule, ...]:
    """Return the rules that hold from a resource's first attempt on, one for each field.

    What is free to change is the same as what a digest leaves out.
    """
    if kind is TrainingStage:
        return tuple(_frozen(TrainingStageSpec, STAGE_FREE_TO_CHANGE, "stage"))
    if kind is Dataset:
        return tuple(_frozen(DatasetSpec, {}, "dataset"))
    if kind is Evaluation:
        return tuple(_frozen(EvaluationSpec, EVALUATION_FREE_TO_CHANGE, "evaluation"))
    return ()


def _frozen(spec: type[Model], free: Mapping[str, Any], what: str) -> Iterator[Rule]:
    for name, field in spec.model_fields.items():
        path, exempt = f"spec.{to_camel(name)}", free.get(name)
        if exempt is True:
            continue
        if exempt:
            part = field.annotation
            assert isinstance(part, type) and issubclass(part, Model)
            inner = [inner for inner in part.model_fields if inner not in exempt]
            paths = [f"{path}.{to_camel(name)}" for name in inner]
        else:
            paths = [path]
        for each in paths:
            yield _unchanged(each, what)


def _unchanged(path: str, what: str) -> Rule:
    *parents, last = path.split(".")
    place = ".".join(parents)
    return Rule(
        f"!{_STARTED} || self.{place}.?{last} == oldSelf.{place}.?{last}",
        f"{path} can't be changed any more, the {what} was started: apply it under another name, "
        "or delete this one first",
        field=f".{path}",
    )
