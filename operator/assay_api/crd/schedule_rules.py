"""The rules of a schedule, in CEL."""

from assay_api.crd.rule import Rule
from assay_api.schedule import DAYS, FIELDS, ITEMS, MONTHS, SHAPE

_FIVE = "self.schedule.split(' ').size() == 5"
_RANGES = (
    "!has(self.schedule) || self.schedule.upperAscii().split(' ').all(field, field.split(',').all("
    "item, !item.matches('^[0-9]{1,2}-[0-9]{1,2}(/.*)?$') || "
    "int(item.split('/')[0].split('-')[0]) <= int(item.split('/')[0].split('-')[1])))"
)
_NAMED_RANGES = (
    "!has(self.schedule) || self.schedule.upperAscii().split(' ').all(field, field.split(',').all("
    "item, !item.matches('^[A-Z]{3}-[A-Z]{3}(/.*)?$') || "
    f"'{''.join(MONTHS + DAYS)}'.indexOf(item.substring(0, 3)) <= "
    f"'{''.join(MONTHS + DAYS)}'.indexOf(item.substring(4, 7))))"
)
SCHEDULE_RULES = (
    Rule(f"!has(self.schedule) || {_FIVE}", f"a schedule {SHAPE}", field=".schedule"),
    *(
        Rule(
            f"!has(self.schedule) || !({_FIVE}) || self.schedule.upperAscii().split(' ')[{i}]"
            f".split(',').all(item, item.matches(r'{field.item}'))",
            f"the {field.title} of a schedule must be {field.allowed}, {ITEMS}",
            field=".schedule",
        )
        for i, field in enumerate(FIELDS)
    ),
    *(
        Rule(rule, "a range of a schedule must not end before it begins", field=".schedule")
        for rule in (_RANGES, _NAMED_RANGES)
    ),
)
