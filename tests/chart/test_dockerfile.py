"""What the Dockerfile says, without building it; `test_images.py` builds it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_dockerfile_and_the_makefile_name_one_version_of_uv() -> None:
    names = {"Makefile": r"^UV_VERSION := (\S+)", "Dockerfile": r"^ARG UV_VERSION=(\S+)"}
    found = {re.findall(p, (ROOT / n).read_text(), re.MULTILINE)[0] for n, p in names.items()}
    assert len(found) == 1


def test_the_base_is_pinned_and_can_be_replaced() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    base = [line for line in lines if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"ARG BASE=debian:\d+\.\d+-slim", base[0])
    origins = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert origins == {"${BASE}", "python", "build"}
