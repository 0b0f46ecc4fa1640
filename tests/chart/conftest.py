import subprocess
from pathlib import Path

import pytest
import yaml
from go_programs import HELM, built
from rendered_objects import Helm, Object, Render

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/assay"
VALUES = sorted([*CHART.glob("values*.yaml"), *CHART.glob("ci/*-values.yaml")])
"""Every set of values that is shipped, the defaults among them."""
HELM_SECONDS = 120
# Offline, helm must be told of a cluster: its version, and what it serves.
CLUSTER = ("--kube-version", "1.36.2", "--api-versions", "assay.dev/v1alpha1/Evaluation")


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session", params=VALUES, ids=lambda path: str(path.stem))
def values_file(request: pytest.FixtureRequest) -> Path:
    """Each set of values in turn."""
    path: Path = request.param
    return path


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run helm with these arguments; the caller looks at its exit status."""
    home = str(tmp_path_factory.mktemp("helm"))
    program = str(built(HELM))

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program, *map(str, arguments)],
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=HELM_SECONDS,
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Return the objects that the chart makes of values, in the namespace assay-system."""

    def run(*arguments: str | Path) -> list[Object]:
        where = ("assay", CHART, "--namespace", "assay-system")
        done = helm("template", *where, *CLUSTER, *arguments)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    return run


@pytest.fixture
def rendered(render: Render, values_file: Path) -> list[Object]:
    """The objects of each set of values in turn."""
    return render("--values", values_file)
