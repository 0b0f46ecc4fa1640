"""A validation rule in CEL, and the rules that stand on several models."""

from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from assay_api.base import Model


@dataclass(frozen=True, slots=True)
class Rule:
    """A validation rule of a custom resource."""

    rule: str
    """CEL expression, true where the object is right."""
    message: str
    """What is wrong and what is allowed, without the values at hand."""
    expression: str | None = None
    """CEL expression of a message that has the values at hand."""
    field: str | None = None
    """Path of the field that is to blame, relative to where the rule stands."""

    def plain(self) -> dict[str, Any]:
        """Return the rule as a manifest says it."""
        found = {
            "rule": self.rule,
            "message": self.message,
            "messageExpression": self.expression,
            "fieldPath": self.field,
        }
        return {name: value for name, value in found.items() if value is not None}


def exactly_one(fields: tuple[str, ...]) -> Rule:
    """Return the rule that exactly one of the fields is given.

    Args:
        fields: their names, as manifests spell them.
    """
    listed, given = ", ".join(fields), [f"has(self.{field})" for field in fields]
    found = []
    for i, field in enumerate(fields):
        first = "''" if i == 0 else f"({' || '.join(given[:i])} ? ' and ' : '')"
        found.append(f"({given[i]} ? {first} + '{field}' : '')")
    return Rule(
        f"[{', '.join(given)}].filter(given, given).size() == 1",
        f"exactly one of {listed} is allowed",
        f"'exactly one of {listed} is allowed, found ' + "
        f"({' || '.join(given)} ? {' + '.join(found)} : 'none')",
    )


def idle(
    model: type[Model], fields: tuple[str, ...], acts: str, owner: str, part: str = "self"
) -> tuple[Rule, ...]:
    """Return the rules that fields which do nothing here are left at their defaults.

    Args:
        model: the one that has the fields.
        fields: their names.
        acts: CEL expression, true where they act.
        owner: where that is, for the message.
        part: CEL expression of the model.
    """
    return tuple(
        Rule(
            f"{acts} || {part}.{to_camel(name)} == {default_of(model, name)}",
            f"{to_camel(name)} acts only {owner}: leave it out",
            field=f"{part.removeprefix('self')}.{to_camel(name)}",
        )
        for name in fields
    )


def default_of(model: type[Model], name: str) -> str:
    """Return a field's default in CEL, where a double is not equal to an integer."""
    field = model.model_fields[name]
    if isinstance(field.default, str):
        return f"'{field.default}'"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return repr(float(field.default) if field.annotation is float else field.default)
