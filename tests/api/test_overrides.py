"""`--set` replaces single values before anything is checked."""

from typing import Any

import pytest

from assay_api import InvalidInput
from assay_api.documents import Document, apply_overrides


def documents() -> list[Document]:
    return [
        Document("a.yaml", {"kind": "K", "metadata": {"name": "a"}, "spec": {"rl": {"steps": 40}}}),
        Document("a.yaml", {"kind": "K", "metadata": {"name": "b"}, "spec": {"rl": {"steps": 60}}}),
        Document(
            "a.yaml", {"kind": "L", "metadata": {"name": "a"}, "spec": {"stages": [{"n": 1}]}}
        ),
    ]


def specs(*overrides: str) -> list[Any]:
    return [document.body["spec"] for document in apply_overrides(documents(), overrides)]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("spec.rl.steps=3", [{"rl": {"steps": 3}}, {"rl": {"steps": 3}}, {"stages": [{"n": 1}]}]),
        (
            "K/b.spec.rl.steps=3",
            [{"rl": {"steps": 40}}, {"rl": {"steps": 3}}, {"stages": [{"n": 1}]}],
        ),
        (
            "K/a.spec.rl.lr=1e-5",
            [{"rl": {"steps": 40, "lr": "1e-5"}}, {"rl": {"steps": 60}}, {"stages": [{"n": 1}]}],
        ),
        (
            "spec.stages.0.n=[x]",
            [{"rl": {"steps": 40}}, {"rl": {"steps": 60}}, {"stages": [{"n": ["x"]}]}],
        ),
        ("spec.stages.0=7", [{"rl": {"steps": 40}}, {"rl": {"steps": 60}}, {"stages": [7]}]),
        (
            "K/a.spec.new.deep=true",
            [
                {"rl": {"steps": 40}, "new": {"deep": True}},
                {"rl": {"steps": 60}},
                {"stages": [{"n": 1}]},
            ],
        ),
    ],
)
def test_a_value_is_replaced_where_its_path_is(override: str, expected: list[Any]) -> None:
    assert specs(override) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("spec.rl.stepz=3", "no resource has spec.rl.stepz"),
        ("K/c.spec.rl.steps=3", "there is no K/c; there are: K/a, K/b, L/a"),
        ("L/a.spec.stages.5.n=3", "no resource has spec.stages.5.n"),
        ("nothing", "must be PATH=VALUE, e.g. spec.rl.steps=3"),
    ],
)
def test_what_matches_nothing_is_refused(override: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        apply_overrides(documents(), [override])


def test_the_originals_stay_as_they_are() -> None:
    originals = documents()
    apply_overrides(originals, ["spec.rl.steps=3"])
    assert originals == documents()
