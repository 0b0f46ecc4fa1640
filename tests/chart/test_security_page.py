"""docs/security.md lists what the operator may do, no less and no more."""

import re
from pathlib import Path

from rendered_objects import Render, Right, bound_rights

PAGE = Path(__file__).parents[2] / "docs/security.md"


def rows(columns: int) -> list[list[str]]:
    """Return the rows of the tables about rights that have so many columns."""
    _, _, section = PAGE.read_text().partition("## What the operator's ServiceAccount may do")
    section, _, _ = section.partition("## What users may do")
    table = [
        line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")
    ]
    return [row for row in table if len(row) == columns and not row[0].startswith(("API", "where"))]


def listed(groups: str, resources: str, verbs: str) -> set[Right]:
    what, _, named = resources.partition(" named ")
    return {
        ("" if group == "core" else group.strip("`"), resource, name, verb)
        for group in groups.split(", ")
        for resource in re.findall("`([^`]+)`", what)
        for name in re.findall("`([^`]+)`", named) or [""]
        for verb in verbs.split(", ")
    }


def test_the_page_lists_the_rights_in_namespaces(render: Render) -> None:
    page = set().union(*(listed(*row[:3]) for row in rows(4)))
    assert page == bound_rights(render(), "assay-operator")["ClusterRole/assay-operator"]
    everywhere = bound_rights(render("--set", "watchNamespaces={a}"), "assay-operator")
    assert page == everywhere["Role/assay-operator"]


def test_the_page_lists_the_other_rights(render: Render) -> None:
    found = bound_rights(render(), "assay-operator")
    lease, definitions = rows(5)
    assert listed(*lease[1:4]) == found["Role/assay-operator-lease"]
    assert listed(*definitions[1:4]) == found["ClusterRole/assay-operator-definitions"]
    assert set(found) == {
        "ClusterRole/assay-operator",
        "ClusterRole/assay-operator-definitions",
        "Role/assay-operator-lease",
    }


def test_every_right_has_a_reason() -> None:
    assert all(len(row[-1]) > 5 for row in [*rows(4), *rows(5)])
