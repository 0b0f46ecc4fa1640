"""A typed model as a structural OpenAPI schema, as an API server wants it.

It is pydantic's JSON schema with its references written out. An API server knows no unions with
null (a field that may be unset is one that is not required), wants exclusive bounds as a flag, and
drops or refuses unknown fields by itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from assay_api.base import Model
from assay_api.crd.rule import Rule
from assay_api.crd.rules import key_rules, pattern_rule, rules_of

Schema = dict[str, Any]
"""A schema as plain values."""

_COPIED = (
    *("description", "type", "format", "enum", "default", "multipleOf"),
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties", "required"),
)
"""Words that both know, in the order in which they are written."""
_DROPPED = frozenset({"title", "$defs"})
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def structural_schema(model: type[Model]) -> Schema:
    """Return the structural schema of a model and of all models in it, with their rules."""
    schema = model.model_json_schema(by_alias=True)
    models = {found.__name__: found for found in models_in(model)}
    return _Converter(schema.get("$defs", {}), models).convert({**schema, "title": model.__name__})


def models_in(annotation: Any) -> Iterator[type[Model]]:
    """Yield every model that an annotation, or the fields of a model in it, speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for inner in get_args(annotation):
        yield from models_in(inner)


class _Converter:
    """Writes out the references of one JSON schema."""

    def __init__(
        self, definitions: Mapping[str, Schema], models: Mapping[str, type[Model]]
    ) -> None:
        self._definitions = definitions
        self._models = models

    def convert(self, schema: Schema) -> Schema:
        """Return a part of the schema in structural form.

        Raises:
            ValueError: it says something that an API server can't be told.
        """
        schema = self._resolved(schema)
        made: Schema = {}
        rules: list[Rule] = []
        for word, value in schema.items():
            if word in _EXCLUSIVE:
                made |= {_EXCLUSIVE[word]: value, word: True}
            elif word in _COPIED:
                made[word] = value
            elif word == "pattern":
                rules.append(pattern_rule(value))
            elif word == "items":
                made["items"] = self.convert(value)
            elif word == "properties":
                made["properties"] = {name: self.convert(part) for name, part in value.items()}
            elif word in ("additionalProperties", "patternProperties", "propertyNames"):
                rules.extend(self._convert_mapping(word, value, made))
            elif word not in _DROPPED:
                raise ValueError(f"{word}: {value!r} can't be said in a structural schema")
        model = self._models.get(schema.get("title", ""))
        if model:
            rules = [*rules_of(model), *rules]
        return _finished(made, rules)

    def _resolved(self, schema: Schema) -> Schema:
        """Return the schema with its reference, and its union with null, written out."""
        schema = dict(schema)
        if "$ref" in schema:
            schema = {**self._definitions[schema.pop("$ref").rsplit("/", 1)[1]], **schema}
        if "anyOf" in schema:
            options = [option for option in schema.pop("anyOf") if option != {"type": "null"}]
            if len(options) != 1:
                raise ValueError(f"{options} is a union: write exactly-one-of fields instead")
            schema = {**self._resolved(options[0]), **schema}
        if "const" in schema:
            schema["enum"] = [schema.pop("const")]
        return schema

    def _convert_mapping(self, word: str, value: Any, made: Schema) -> list[Rule]:
        """Convert what is said about a mapping with free keys; return the rules of the keys."""
        if word == "propertyNames":
            return key_rules(value["pattern"])
        if word == "patternProperties":
            ((pattern, part),) = value.items()
            made["additionalProperties"] = self.convert(part)
            return key_rules(pattern)
        if value is True:
            made["x-kubernetes-preserve-unknown-fields"] = True
        elif value is not False:
            made["additionalProperties"] = self.convert(value)
        return []


def _finished(schema: Schema, rules: list[Rule]) -> Schema:
    ordered = {word: schema[word] for word in _COPIED if word in schema}
    schema = {**ordered, **{word: schema[word] for word in schema if word not in ordered}}
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if schema.get("default", 0) is None:
        del schema["default"]
    if "default" in schema:
        default = schema["default"] = _without_null(schema["default"])
        # `kubectl explain` doesn't show defaults by itself.
        if isinstance(default, str | bool | int | float) and len(str(default)) in range(1, 40):
            shown = str(default).lower() if isinstance(default, bool) else default
            schema["description"] += f" Default: {shown}."
    if schema["type"] == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
    if rules:
        schema["x-kubernetes-validations"] = [rule.plain() for rule in rules]
    return schema


def _without_null(default: Any) -> Any:
    """Return a default without what is unset. A server doesn't complete it before it checks it."""
    if not isinstance(default, dict):
        return default
    return {name: _without_null(value) for name, value in default.items() if value is not None}
