"""The documents: the two commands come first, and every link and path leads somewhere."""

import re
from pathlib import Path

import pytest

from assay_data.drops import DropReason

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`((?:operator|trainer|data|tests|manifests|docs|constraints)/[^`\s]*)`")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_paths_that_are_named_exist(document: Path) -> None:
    paths = CODE_PATH.findall(document.read_text())
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


def test_the_first_screen_says_how_to_start() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    first_block = next(i for i, line in enumerate(lines, start=1) if line.startswith("```"))
    assert first_block < 30
    end = next(i for i, line in enumerate(lines) if i > first_block - 1 and line == "```")
    commands = [line.split("#")[0].strip() for line in lines[first_block:end]]
    assert commands == ["make demo", "make test"]


def test_every_decision_is_numbered_and_listed() -> None:
    records = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    listed = (ROOT / "docs/architecture.md").read_text()
    assert [record.name for record in records if f"decisions/{record.name}" not in listed] == []


def test_every_reason_for_a_drop_is_explained() -> None:
    page = (ROOT / "docs/data.md").read_text()
    assert [reason for reason in DropReason if f"`{reason}`" not in page] == []
