"""The project's own files, as these tests look at them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {"__pycache__", "dist", "node_modules"}
CODE_FOLDERS = ("operator", "trainer", "data", "tests")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project_files() -> list[Path]:
    """Every text file of the project; what tools leave behind is hidden or generated."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    folders = [path for path in ROOT.iterdir() if path.is_dir() and _is_ours(path.name)]
    for folder in [*folders, ROOT / ".ci"]:
        for place, names, files in os.walk(folder):
            names[:] = [name for name in names if _is_ours(name)]
            found += [Path(place) / name for name in files]
    return sorted(found)


def _is_ours(name: str) -> bool:
    return not name.startswith((".", "demo-store", "assay-store")) and name not in NOT_OURS


@pytest.fixture(scope="session")
def python_files(project_files: list[Path]) -> list[Path]:
    return [
        path
        for path in project_files
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in CODE_FOLDERS
    ]


@pytest.fixture(scope="session")
def package_files(python_files: list[Path]) -> list[Path]:
    return [path for path in python_files if path.relative_to(ROOT).parts[0] != "tests"]
