"""The definitions follow from the typed models: structure, bounds, rules, names, digests."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from pydantic import Field

from assay_api.base import Model, OneOf
from assay_api.crd.definitions import (
    NAMINGS,
    SCHEMA_DIGEST,
    definition,
    definition_yaml,
    openapi_schema,
    schema_digest,
)
from assay_api.crd.immutable import immutability_rules
from assay_api.crd.rules import RULES, rules_of
from assay_api.crd.schema import models_in, structural_schema
from assay_api.digest import evaluation_identity, stage_identity
from assay_api.evaluation import Evaluation
from assay_api.manifests import KINDS
from assay_api.pipeline import TrainingPipeline
from assay_api.stage import TrainingStage

Schema = dict[str, Any]
# Of a model, which words a structural schema may have.
ALLOWED = {
    *("type", "description", "enum", "format", "default", "multipleOf", "required", "items"),
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties", "properties"),
    *("additionalProperties", "x-kubernetes-validations"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}


def parts(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield every schema within a schema, with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from parts(schema[word], f"{path}.{word}")


def parts_of(kind: str, name: str) -> list[tuple[str, Schema]]:
    return list(parts(openapi_schema(kind)["properties"][name], name))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_structural(kind: str) -> None:
    for path, schema in parts(openapi_schema(kind), kind):
        assert isinstance(schema["type"], str), path
        free = {"x-kubernetes-preserve-unknown-fields"} if path.endswith(".arguments") else set()
        assert schema.keys() <= ALLOWED | free, path
        assert not isinstance(schema.get("default", 0), type(None)), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    for name in ("spec", "status"):
        for path, schema in parts_of(kind, name):
            if not path.endswith(("items", "additionalProperties")):
                assert schema.get("description", "").endswith("."), path


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_bounded(kind: str) -> None:
    bounds = {
        "string": {"maxLength", "enum"},
        "array": {"maxItems"},
        "integer": {"maximum", "enum"},
        "number": {"maximum"},
    }
    for path, schema in parts_of(kind, "spec"):
        wanted = bounds.get(schema["type"], set())
        if schema["type"] == "object" and "properties" not in schema:
            wanted = {"maxProperties"}
        assert not wanted or wanted & schema.keys(), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_and_list_of_a_status_is_bounded(kind: str) -> None:
    bounds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}}
    for path, schema in parts_of(kind, "status"):
        wanted = bounds.get(schema["type"], set())
        assert not wanted or wanted & schema.keys(), path


@pytest.mark.parametrize("kind", KINDS)
def test_a_definition_is_small_and_always_the_same(kind: str) -> None:
    assert len(definition_yaml(kind)) < 100_000
    openapi_schema.cache_clear()
    first = definition_yaml(kind)
    openapi_schema.cache_clear()
    assert definition_yaml(kind) == first
    assert definition(kind)["metadata"]["annotations"][SCHEMA_DIGEST] == schema_digest(kind)


def test_digests_tell_schemas_apart() -> None:
    assert len({schema_digest(kind) for kind in KINDS}) == len(KINDS)
    assert all(len(schema_digest(kind)) == 64 for kind in KINDS)


def test_names_are_unique() -> None:
    assert set(NAMINGS) == set(KINDS)
    names = [
        name for kind, n in NAMINGS.items() for name in (n.plural, n.short, kind.lower(), n.crd)
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_show_fields_that_there_are(kind: str) -> None:
    for column in NAMINGS[kind].columns:
        if "[?(" in column.path:
            assert column.path.startswith('.status.conditions[?(@.type=="Ready")].')
            continue
        schema: Schema = openapi_schema(kind)
        for name in column.path.strip(".").split("."):
            schema = schema.get("properties", {}).get(name) or schema["additionalProperties"]
        assert schema["type"] == column.type, column.path


def test_every_model_that_checks_itself_has_rules() -> None:
    checking = {
        model
        for kind in KINDS.values()
        for model in models_in(kind)
        if model.__pydantic_decorators__.model_validators
    }
    assert checking
    assert [model.__name__ for model in checking if not rules_of(model)] == []
    used = {model for kind in KINDS.values() for model in models_in(kind)}
    assert [model.__name__ for model in RULES if model not in used] == []


def test_an_unset_number_and_an_open_bound_are_written_as_a_server_wants_them() -> None:
    class Small(Model):
        """A model."""

        share: float | None = Field(default=None, gt=0, lt=1, description="A share.")
        count: int = Field(default=3, ge=1, multiple_of=2, description="A\n count.")
        name: str = Field(pattern="^https?://", max_length=9, description="A name.")

    schema = structural_schema(Small)
    assert schema["required"] == ["name"]
    assert schema["properties"]["share"] == {
        "description": "A share.",
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1,
        "exclusiveMaximum": True,
    }
    assert schema["properties"]["count"] == {
        "description": "A count. Default: 3.",
        "type": "integer",
        "default": 3,
        "multipleOf": 2,
        "minimum": 1,
    }
    assert schema["properties"]["name"]["x-kubernetes-validations"] == [
        {
            "rule": "self.matches(r'^https?://')",
            "message": "must begin with http:// or https://",
        }
    ]


def test_a_choice_is_a_rule() -> None:
    class Pick(OneOf):
        """A choice."""

        from_one: str | None = Field(default=None, description="One.")
        from_two: str | None = Field(default=None, description="Two.")

    (rule,) = structural_schema(Pick)["x-kubernetes-validations"]
    assert rule["rule"] == "[has(self.fromOne), has(self.fromTwo)].filter(given, given).size() == 1"
    assert rule["message"] == "exactly one of fromOne, fromTwo is allowed"


def test_a_union_is_refused() -> None:
    class Both(Model):
        """A model."""

        value: int | str = Field(description="Either.")

    with pytest.raises(ValueError, match="is a union: write exactly-one-of fields instead"):
        structural_schema(Both)


def test_a_pattern_without_a_message_is_refused() -> None:
    class Colour(StrEnum):
        RED = "Red"

    class Odd(Model):
        """A model."""

        colour: Colour = Field(description="A colour.")
        code: str = Field(pattern="^[0-9]+$", description="A code.")

    with pytest.raises(KeyError, match=r"\^\[0-9\]\+\$"):
        structural_schema(Odd)


def frozen(kind: type[Model]) -> set[str]:
    return {rule.field.removeprefix(".spec.") for rule in immutability_rules(kind) if rule.field}


def test_what_may_not_change_is_what_a_digest_counts() -> None:
    stage = TrainingStage.model_validate(
        {
            "metadata": {"name": "a"},
            "spec": {
                "model": {"uri": "m"},
                "dataset": "d",
                "sft": {"task": "Judge", "steps": 1},
            },
        }
    )
    counted = stage_identity(stage.spec)
    placement = {f"placement.{name}" for name in counted.pop("placement")}
    assert frozen(TrainingStage) == {*counted, *placement}
    evaluation = Evaluation.model_validate(
        {"metadata": {"name": "a"}, "spec": {"model": {"uri": "m"}, "dataset": "d"}}
    )
    assert frozen(Evaluation) == set(evaluation_identity(evaluation.spec))
    assert frozen(TrainingPipeline) == set()
