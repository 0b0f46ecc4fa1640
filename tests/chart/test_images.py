"""The images: really built, and run as a restricted pod runs them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_builder import Image, ImageBuilder, need_tools

pytestmark = pytest.mark.release

ROOT = Path(__file__).parents[2]
MAX_OPERATOR_BYTES = 200_000_000
VERSIONS = """
import importlib.metadata
for found in importlib.metadata.distributions():
    print(found.metadata["Name"], found.version)
"""

IMPORTS = """
import importlib, pkgutil
import assay_api, assay_operator, kubeflow.training, kubernetes.client, minio, prometheus_client
for package in (assay_api, assay_operator):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
importlib.import_module("assay_data.store").open_store("/tmp/store")
print(kubernetes.client.V1Job().kind, kubernetes.client.V1Job(kind="Job").kind)
"""


@pytest.fixture(scope="module")
def builder() -> Iterator[ImageBuilder]:
    need_tools()
    with ImageBuilder(ROOT) as made:
        yield made


@pytest.fixture(scope="module")
def operator(builder: ImageBuilder) -> Image:
    return builder.build("operator")


@pytest.fixture(scope="module")
def data(builder: ImageBuilder, operator: Image) -> Image:
    return builder.build("data")


@pytest.fixture(params=["operator", "data"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


def test_an_image_runs_as_a_user_without_rights(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.config["Entrypoint"] == ["assay"]
    assert image.run("id", "-u").stdout == "10001\n"
    written = image.run("sh", "-c", "touch /tmp/there && touch /opt/assay/here")
    assert (written.returncode, "Read-only file system" in written.stderr) == (1, True)
    # What others may write, a program that went astray could change for the next one.
    found = image.run("find", "/opt", "/etc", "-xdev", "-type", "f", "-perm", "/022")
    assert found.stdout == ""


def test_the_command_line_answers(image: Image) -> None:
    done = image.run("assay", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: assay" in done.stdout


def test_packages_have_the_pinned_versions(image: Image) -> None:
    lines = (ROOT / "constraints/cpu.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines)
    done = image.run("python", "-c", VERSIONS)
    found = dict(line.split() for line in done.stdout.splitlines())
    installed = {re.sub(r"[-_.]+", "-", name).lower(): found[name] for name in found}
    assert installed.pop("assay") == "0.1.0"
    assert len(installed) > 10
    assert {name: pins.get(name) for name in installed} == installed


@pytest.mark.parametrize("module", ["torch", "pip", "uv", "pytest"])
def test_an_image_has_nothing_that_it_does_not_run(image: Image, module: str) -> None:
    done = image.run("python", "-c", f"import {module}")
    assert "No module named" in done.stderr


def test_no_secret_of_the_build_stays(image: Image) -> None:
    for path in ("etc/pip.conf", "run/secrets/ca.crt"):
        found = image.root / path
        assert not found.exists() or found.stat().st_size == 0


def test_the_operators_image_is_small(operator: Image) -> None:
    assert operator.content_bytes() < MAX_OPERATOR_BYTES


def test_the_operators_image_has_what_the_operator_imports(operator: Image) -> None:
    done = operator.run("python", "-c", IMPORTS)
    assert done.returncode == 0, done.stderr
    # The generated client works without its docstrings.
    assert done.stdout == "None Job\n"


def test_the_data_image_makes_and_ingests_videos(data: Image) -> None:
    commands = [
        "assay data render /tmp/videos --videos 8 --width-pixels 56",
        "assay data ingest /tmp/videos --out /tmp/dataset",
        "assay data show /tmp/dataset",
    ]
    done = data.run("sh", "-ec", "\n".join(commands))
    assert done.returncode == 0, done.stderr
