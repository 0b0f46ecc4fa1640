"""Cron schedules: how often one is due at most."""

import re

from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId

FIELD = "spec.schedule"
"""The field with the schedule."""
LEAST_SECONDS_BETWEEN = 300
"""More often than this, a run that starts late could not be told from the next one."""

_MINUTES_OF_A_DAY = 24 * 60
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def least_period_seconds(owner: ResourceId, schedule: str) -> int:
    """Return the shortest time between two runs; days are left out, they only make it longer.

    Raises:
        InvalidInput: it is no schedule, or one that is due too often.
    """
    fields = _MACROS.get(schedule, schedule).split()
    if len(fields) != 5:
        raise _refuse(owner, schedule, "must have five fields: MINUTE HOUR DAY MONTH WEEKDAY")
    try:
        minutes, hours = _values(fields[0], 60), _values(fields[1], 24)
    except ValueError as error:
        raise _refuse(owner, schedule, str(error)) from None
    due = sorted(60 * hour + minute for hour in hours for minute in minutes)
    following = [*due[1:], due[0] + _MINUTES_OF_A_DAY]
    period = 60 * min(later - sooner for sooner, later in zip(due, following, strict=True))
    if period < LEAST_SECONDS_BETWEEN:
        raise _refuse(
            owner,
            schedule,
            f"is due every {period} s; at least {LEAST_SECONDS_BETWEEN} s must lie between two "
            "runs, for example */5 * * * *",
        )
    return period


def _refuse(owner: ResourceId, schedule: str, problem: str) -> InvalidInput:
    return InvalidInput(f"{owner}: field {FIELD}: got {schedule!r}: {problem}")


def _values(field: str, count: int) -> set[int]:
    """Return the values out of 0 to `count - 1` that a field means, such as 1-9/2,30."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            span = f"0-{count - 1}"
        elif step and span.isdecimal():
            span = f"{span}-{count - 1}"
        limits = re.fullmatch(r"(\d+)(?:-(\d+))?", span)
        if limits is None or not re.fullmatch(r"\d*", step):
            raise ValueError(f"{part!r} is not a number, a range or *, with /STEP or without")
        low, high = int(limits[1]), int(limits[2] or limits[1])
        if not low <= high < count or int(step or 1) < 1:
            raise ValueError(f"{part!r} must lie between 0 and {count - 1}")
        found |= set(range(low, high + 1, int(step or 1)))
    return found
