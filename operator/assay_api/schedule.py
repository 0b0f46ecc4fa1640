"""Cron schedules, as Kubernetes' CronJob reads them: five fields, times in UTC."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class CronField:
    """One of the five fields of a schedule: items, separated by commas."""

    title: str
    """What it is called."""
    allowed: str
    """What it may hold, for people."""
    number: str
    """Regular expression of a number of it."""
    names: Sequence[str] = ()
    """Names that stand for numbers, in order."""

    @property
    def item(self) -> str:
        """Regular expression (RE2, upper case) of an item: `*`, a value or a range, and a step."""
        options = [r"\*", f"({self.number})(-({self.number}))?"]
        if self.names:
            name = "|".join(self.names)
            options.append(f"({name})(-({name}))?")
        return f"^({'|'.join(options)})(/0*[1-9][0-9]?)?$"


FIELDS = (
    CronField("minute", "0 to 59", "[0-5]?[0-9]"),
    CronField("hour", "0 to 23", "[01]?[0-9]|2[0-3]"),
    CronField("day of the month", "1 to 31", "0?[1-9]|[12][0-9]|3[01]"),
    CronField("month", "1 to 12 or JAN to DEC", "0?[1-9]|1[0-2]", MONTHS),
    CronField("day of the week", "0 to 6 or SUN to SAT", "[0-6]", DAYS),
)
"""The fields, in order."""

ITEMS = "*, lists with commas, ranges with -, steps with /"
"""What each field may hold besides a single value."""

SHAPE = (
    "must be five fields with one space between them: minute (0 to 59), hour (0 to 23), day of the "
    "month (1 to 31), month (1 to 12 or JAN to DEC), day of the week (0 to 6 or SUN to SAT), "
    "for example 30 3 * * MON-FRI"
)
"""What a schedule looks like, for people."""


def check_schedule(text: str) -> str:
    """Return a schedule as it is.

    Raises:
        ValueError: it has not five fields, or one of them holds what it can't.
    """
    fields = text.split(" ")
    if len(fields) != len(FIELDS):
        raise ValueError(f"got {text!r}, a schedule {SHAPE}")
    for kind, field in zip(FIELDS, fields, strict=True):
        for item in field.upper().split(","):
            _check_item(kind, item, text)
    return text


def _check_item(kind: CronField, item: str, text: str) -> None:
    if not re.fullmatch(kind.item, item):
        raise ValueError(
            f"got {text!r}, the {kind.title} is {item!r}, allowed: {kind.allowed}, {ITEMS}"
        )
    begin, dash, end = item.split("/")[0].partition("-")
    order = [*map(int, (begin, end))] if begin.isdigit() and dash else []
    if dash and not order:
        order = [kind.names.index(name) for name in (begin, end)]
    if order != sorted(order):
        raise ValueError(f"got {text!r}, the {kind.title} has a range that ends before it begins")
