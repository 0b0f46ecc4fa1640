"""What may not change any more once a resource has been worked on: what its result depends on."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from assay_api.base import Model
from assay_api.crd.rule import Rule
from assay_api.dataset import Dataset, DatasetSpec
from assay_api.digest import EVALUATION_FREE_TO_CHANGE, STAGE_FREE_TO_CHANGE
from assay_api.evaluation import Evaluation, EvaluationSpec
from assay_api.stage import TrainingStage, TrainingStageSpec

# Written without optional values (`.?`): a server can't bound what they cost.
_STARTED = (
    "(has(oldSelf.status) && (oldSelf.status.attempt > 0 || has(oldSelf.status.conditions) && "
    "oldSelf.status.conditions.exists(c, c.type == 'Succeeded' && c.status == 'True')))"
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
        if not exempt:
            yield _unchanged(path, field, what)
            continue
        part = field.annotation
        assert isinstance(part, type) and issubclass(part, Model)
        for name, inner in part.model_fields.items():
            if name not in exempt:
                yield _unchanged(f"{path}.{to_camel(name)}", inner, what)


def _unchanged(path: str, field: FieldInfo, what: str) -> Rule:
    now, before = f"self.{path}", f"oldSelf.{path}"
    same = f"{now} == {before}"
    if not field.is_required() and field.get_default(call_default_factory=True) is None:
        same = f"(has({now}) == has({before}) && (!has({now}) || {same}))"
    return Rule(
        f"!{_STARTED} || {same}",
        f"{path} can't be changed any more, the {what} was started: apply it under another name, "
        "or delete this one first",
        field=f".{path}",
    )
