"""The stated mutants fit the code as it is, and the check of them tells what it finds."""

import subprocess
import sys
from pathlib import Path

import pytest
from mutants import ROOT, Mutant, change, read_areas

HERE = Path(__file__).parent
AREAS = read_areas()
MUTANTS = [(area, mutant) for area, content in AREAS.items() for mutant in content.mutants]


@pytest.mark.parametrize(
    ("area", "mutant"), MUTANTS, ids=[f"{area}: {mutant.name}" for area, mutant in MUTANTS]
)
def test_each_mutant_changes_a_file_that_still_compiles(area: str, mutant: Mutant) -> None:
    compile(change(mutant).mutated, mutant.file, "exec", dont_inherit=True)


@pytest.mark.parametrize("area", AREAS)
def test_the_tests_of_each_area_exist_and_no_mutant_is_stated_twice(area: str) -> None:
    for test in AREAS[area].tests:
        assert (ROOT / test.partition("::")[0]).exists(), test
    changes = [(mutant.file, mutant.old, mutant.new) for mutant in AREAS[area].mutants]
    assert len(set(changes)) == len(changes)


def test_a_text_that_is_not_there_once_is_refused() -> None:
    mutant = Mutant(name="none", file="tests/mutation/mutants.py", old="def ", new="")
    with pytest.raises(ValueError, match=r"'none': 'def ' occurs \d+ times in tests/mutation"):
        change(mutant)


def test_a_field_that_does_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "area.yaml").write_text("tests: [tests]\nmutants: [{name: a, file: b, olt: c}]\n")
    with pytest.raises(ValueError, match=r"area\.yaml(.|\n)*olt"):
        read_areas(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one function with one test, and this check."""
    folder = tmp_path / "project"
    mutation = folder / "tests/mutation/mutants"
    mutation.mkdir(parents=True)
    for name in ("kill_mutants.py", "mutants.py"):
        (mutation.parent / name).write_text((HERE / name).read_text())
    (folder / "trainer").mkdir()
    (folder / "trainer/double.py").write_text("def double(number):\n    return 2 * number\n")
    (folder / "tests/test_double.py").write_text(
        "from double import double\n\ndef test_two():\n    assert double(2) == 4\n"
    )
    return folder


def state(project: Path, *mutants: str) -> "subprocess.CompletedProcess[str]":
    file = "{file: trainer/double.py, old: '2 * number', "
    text = "tests: [tests/test_double.py]\nmutants:\n"
    text += "".join(f"- {file}{mutant}}}\n" for mutant in mutants)
    (project / "tests/mutation/mutants/doubling.yaml").write_text(text)
    command = [sys.executable, "tests/mutation/kill_mutants.py", "--workers", "2"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)


def test_a_survivor_is_told_and_so_is_an_explanation_that_is_wrong(project: Path) -> None:
    found = state(
        project,
        "name: tripled, new: '3 * number'",
        "name: added, new: 'number + 2'",
        "name: the same, new: 'number * 2', survives: a product has no order",
        "name: explained, new: '0', survives: it can not be seen",
    )
    assert found.returncode == 1, found.stderr
    added, explained, last = sorted(found.stdout.splitlines())
    assert added == "doubling: added: SURVIVES: no test notices it"
    assert explained.startswith("doubling: explained: is noticed, although")
    assert last.startswith("mutants: 5 runs in") and last.endswith("2 with a fault")


def test_without_a_survivor_it_succeeds(project: Path) -> None:
    found = state(project, "name: tripled, new: '3 * number'")
    assert found.returncode == 0, found.stdout + found.stderr


def test_tests_that_fail_without_a_change_are_told(project: Path) -> None:
    (project / "trainer/double.py").write_text("def double(number):\n    return 1 + 2 * number\n")
    found = state(project, "name: tripled, new: '3 * number'")
    assert found.returncode == 1
    assert "doubling: as it is: the tests fail without a change" in found.stdout
