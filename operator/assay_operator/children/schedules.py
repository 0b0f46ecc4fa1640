"""Cron schedules: how often one is due at most."""

from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId

FIELD = "spec.schedule"
"""The field with the schedule."""
LEAST_SECONDS_BETWEEN = 300
"""More often than this, a run that starts late could not be told from the next one."""

_MINUTES_OF_A_DAY = 24 * 60


def least_period_seconds(owner: ResourceId, schedule: str) -> int:
    """Return the shortest time between two runs; days are left out, they only make it longer.

    Args:
        owner: whose schedule it is, for messages.
        schedule: five fields, as `assay_api.schedule.check_schedule` lets them pass.

    Raises:
        InvalidInput: it is due too often.
    """
    minute, hour, *_ = schedule.split()
    due = sorted(60 * h + m for h in _values(hour, 24) for m in _values(minute, 60))
    following = [*due[1:], due[0] + _MINUTES_OF_A_DAY]
    period = 60 * min(later - sooner for sooner, later in zip(due, following, strict=True))
    if period < LEAST_SECONDS_BETWEEN:
        raise InvalidInput(
            f"{owner}: field {FIELD}: got {schedule!r}, which is due every {period} s; at least "
            f"{LEAST_SECONDS_BETWEEN} s must lie between two runs, for example */5 * * * *"
        )
    return period


def _values(field: str, count: int) -> set[int]:
    """Return the values out of 0 to `count - 1` that a field means, such as 1-9/2,30."""
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        begin, _, end = span.partition("-")
        low = 0 if begin == "*" else int(begin)
        # `5/20` goes on to the end as `*/20` does; `5` is itself alone.
        alone = begin != "*" and not step
        high = int(end) if end else low if alone else count - 1
        found |= set(range(low, high + 1, int(step or 1)))
    return found
