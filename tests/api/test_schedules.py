"""Cron schedules: five fields, each within its bounds; the error says which is wrong and how."""

import pytest

from assay_api import InvalidInput
from assay_api.manifests import parse_manifests
from assay_api.schedule import check_schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "0 0 * * *",
        "*/15 * * * *",
        "59 23 31 12 6",
        "05 04 01 JAN SUN",
        "0,30 8-18/2 1-7 JAN-MAR,DEC MON-FRI",
        "0 3 * * mon-fri",
        "0 3 * * 0-0",
    ],
)
def test_a_schedule_of_five_fields_is_taken(schedule: str) -> None:
    assert check_schedule(schedule) == schedule


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("", "must be five fields"),
        ("@daily", "must be five fields"),
        ("0 0 3 * * *", "must be five fields"),
        ("0  3 * * *", "must be five fields"),
        ("60 * * * *", "the minute is '60', allowed: 0 to 59"),
        ("0 24 * * *", "the hour is '24', allowed: 0 to 23"),
        ("0 0 0 * *", "the day of the month is '0', allowed: 1 to 31"),
        ("0 0 * 13 *", "the month is '13', allowed: 1 to 12 or JAN to DEC"),
        ("0 0 * * 7", "the day of the week is '7', allowed: 0 to 6 or SUN to SAT"),
        ("0 0 * * MO", "the day of the week is 'MO', allowed: 0 to 6 or SUN to SAT"),
        ("*/0 * * * *", "the minute is '*/0'"),
        ("1, * * * *", "the minute is ''"),
        ("0 17-9 * * *", "the hour has a range that ends before it begins"),
        ("0 0 * * FRI-MON", "the day of the week has a range that ends before it begins"),
        ("0 0 * 1-JAN *", "the month is '1-JAN'"),
    ],
)
def test_another_schedule_is_refused(schedule: str, told: str) -> None:
    with pytest.raises(ValueError, match="got ") as raised:
        check_schedule(schedule)
    assert told in str(raised.value)
    assert repr(schedule) in str(raised.value)


def test_a_manifest_with_a_wrong_schedule_names_the_field() -> None:
    text = (
        "kind: Evaluation\nmetadata: {name: nightly}\n"
        "spec: {model: {uri: m}, dataset: d, schedule: '61 3 * * *'}\n"
    )
    with pytest.raises(InvalidInput) as raised:
        parse_manifests(text, "a.yaml")
    assert str(raised.value) == (
        "a.yaml: Evaluation/nightly: field spec.schedule: got '61 3 * * *', the minute is '61', "
        "allowed: 0 to 59, *, lists with commas, ranges with -, steps with /"
    )
