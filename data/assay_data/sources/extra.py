"""The columns of a record that a dataset's row has no field for: kept for rewards, as JSON."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import AliasChoices

from assay_data.sources.record import Record, holds_medium

WHOLE_COLUMNS = frozenset({"extra_info", "reward_model"})
"""Read in part only; kept as they are, for reward functions that take them as an argument."""


def extra_columns(record: Mapping[str, object], read: Iterable[type[Record]]) -> str:
    """Return the columns that no field is read from, as a JSON mapping in one text.

    Missing values (null, NaN) and columns with media are left out: media have a place of their own.
    What JSON has no word for, such as a date, becomes text.

    Args:
        record: as it was decoded.
        read: what the record's format reads.

    Example:
        >>> extra_columns({"subject": "Algebra", "level": 5, "note": None}, [])
        '{"level": 5, "subject": "Algebra"}'
    """
    known = {name for model in read for name in _names(model)} - WHOLE_COLUMNS
    kept = {
        name: value
        for name, value in ((str(name), _plain(value)) for name, value in record.items())
        if name not in known and value is not None and not holds_medium(name, record.get(name))
    }
    return json.dumps(kept, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _names(model: type[Record]) -> Iterable[str]:
    """Return what the columns of a format may be called."""
    for name, field in model.model_fields.items():
        yield name
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (choice for choice in alias.choices if isinstance(choice, str))
        elif isinstance(alias, str):
            yield alias


def _plain(value: object) -> Any:
    """Return a value as JSON can hold it; bytes and numbers that are none become null."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return None
    return value if value is None or isinstance(value, str | int) else str(value)
