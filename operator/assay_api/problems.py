"""What is wrong with a manifest, in lines that name the field as the manifest spells it."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

_LIMITS = {
    "greater_than_equal": (">=", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("<=", "le"),
    "less_than": ("<", "lt"),
}


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest allowed word, or nothing when none is near."""
    options = {option.lower(): option for option in allowed}
    near = difflib.get_close_matches(word.lower(), options, n=1, cutoff=0.6)
    return f"; did you mean {options[near[0]]}?" if near else ""


def field_path(location: Sequence[str | int]) -> str:
    """Return a location as a path.

    Example:
        >>> field_path(("spec", "rewards", 0, "maxTokens"))
        'spec.rewards[0].maxTokens'
    """
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def explain_invalid(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line for each thing that is wrong: field, value, what is allowed.

    Args:
        model: the class that was to be built.
        error: what pydantic found.
    """
    details = error.errors(include_url=False)
    # A list whose only item is wrong is also reported as too short: that says nothing new.
    return [
        f"field {field_path(detail['loc'])}: {_explain(model, detail)}"
        for detail in details
        if detail["type"] != "too_short" or not any(_is_inside(d["loc"], detail) for d in details)
    ]


def _is_inside(location: Sequence[str | int], detail: ErrorDetails) -> bool:
    outer = detail["loc"]
    return len(location) > len(outer) and tuple(location[: len(outer)]) == outer


def _explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    value = f"got {detail['input']!r}"
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        return f"{value}, must be {sign} {context[name]}"
    if kind == "extra_forbidden":
        return _unknown(str(detail["loc"][-1]), fields_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is required, and missing"
    if kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        hint = did_you_mean(str(detail["input"]), allowed)
        return f"{value}, allowed: {', '.join(allowed)}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{value}, must match {context['pattern']}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        allowed = fields_at(model, detail["loc"])
        return f"{value}, must be a mapping with the fields {', '.join(allowed)}"
    return f"{value}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _unknown(name: str, allowed: Sequence[str]) -> str:
    hint = did_you_mean(name, allowed)
    return f"unknown field{hint or '; allowed: ' + ', '.join(allowed)}"


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the names, as manifests spell them, of the fields allowed at a location."""
    found: type[BaseModel] | None = model
    is_key = False
    for part in location:
        if isinstance(part, int) or is_key or found is None:
            is_key = False
            continue
        fields = {field.alias or name: field for name, field in found.model_fields.items()}
        annotation = fields[part].annotation if part in fields else None
        # What follows in a mapping is one of its keys, which can be anything.
        is_key = get_origin(annotation) is dict
        found = _model_in(annotation)
    return [to_camel(name) for name in found.model_fields] if found else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
