"""docs/operations.md says of every reason what it means and what to do."""

import re
from pathlib import Path

from assay_operator.conditions import Reason

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()
ENTRY = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def test_every_reason_has_one_entry() -> None:
    assert sorted(name for name, _, _ in ENTRY.findall(PAGE)) == sorted(Reason)


def test_every_entry_says_what_it_means_and_what_to_do() -> None:
    assert all(len(meaning) > 10 and len(remedy) > 6 for _, meaning, remedy in ENTRY.findall(PAGE))
