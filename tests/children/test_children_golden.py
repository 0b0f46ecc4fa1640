"""The exact children of each kind, as they were looked at and written down.

After a wanted change: ASSAY_WRITE_GOLDEN=1 pytest tests/children/test_children_golden.py,
then read the difference.
"""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay_trainer.cli.main import app

CASES = {
    "sft": ("sft", None),
    "rl": ("rl", None),
    "fusion": ("fusion", None),
    "dataset": ("dataset", None),
    "evaluations": ("evaluations", None),
    "watching": ("watching", None),
    "sft-everything": ("sft", "everything"),
    "rl-everything": ("rl", "everything"),
    "evaluations-everything": ("evaluations", "everything"),
    "small-cpu": ("small", "cpu"),
}
"""Name of what is written down: name of the input, and of the platform."""


def test_every_case_is_written_down_and_nothing_else(golden_folder: Path) -> None:
    assert {path.stem for path in golden_folder.glob("*.yaml")} == set(CASES)
    inputs = {path.stem for path in (golden_folder / "input").glob("*.yaml")}
    assert inputs == {name for name, _ in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_children_are_what_was_written_down(case: str, golden_folder: Path) -> None:
    given, platform = CASES[case]
    arguments = ["render", "-f", str(golden_folder / "input" / f"{given}.yaml")]
    if platform:
        arguments += ["--pools", str(golden_folder / "platforms" / f"{platform}.yaml")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    path = golden_folder / f"{case}.yaml"
    if os.environ.get("ASSAY_WRITE_GOLDEN"):
        path.write_text(done.stdout)
    assert done.stdout == path.read_text()
