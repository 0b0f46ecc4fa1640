import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from fake_dashboard import FakeDashboard
from fake_kubelet import FakeKubelet
from go_programs import KUBECTL, built
from hypothesis import settings
from third_party import ThirdParty
from time_report import TimeReport
from xdist.scheduler import LoadScopeScheduling

from assay_api.log_lines import LOGGERS, JsonLines, TextLines

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
HERE = Path(__file__).parent
KUBECTL_SECONDS = 60
TOGETHER = ("cluster", "engines", "operator_cluster", "controlplane")
"""Folders whose tests share what takes long to start, the longest first: each has one worker."""

# No test depends on time, those of hypothesis neither: a machine may be busy.
settings.register_profile("assay", settings.default, deadline=None)
settings.load_profile("assay")


@pytest.fixture(autouse=True)
def logs_of_a_new_process() -> None:
    """Commands, and fixtures that start Ray, set up this process's log; a test has none of that."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in list(root.handlers):
        if isinstance(handler.formatter, JsonLines | TextLines):
            root.removeHandler(handler)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane; its logs lie in pytest's temporary folder."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def kubelet(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    """Two nodes whose pods behave as a test says."""
    with FakeKubelet(control_plane.admin) as running:
        yield running


@pytest.fixture(scope="session")
def third_party(control_plane: ControlPlane, kubelet: FakeKubelet) -> Iterator[ThirdParty]:
    """The training-operator and KubeRay's operator."""
    with FakeDashboard() as dashboard, ThirdParty(control_plane, kubelet, dashboard) as running:
        yield running


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A new namespace that takes pods; it is deleted, and nobody waits for that."""
    name = control_plane.new_namespace()
    yield name
    control_plane.admin.delete(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """Run kubectl with these arguments; the caller looks at its exit status."""

    def run(*arguments: str | Path, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [str(built(KUBECTL)), "--kubeconfig", str(control_plane.kubeconfig)]
        return subprocess.run(
            [*command, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
        )

    return run


def pytest_configure(config: pytest.Config) -> None:
    """Tell at the end where the time went."""
    config.pluginmanager.register(TimeReport(), "time-report")


class FolderScheduling(LoadScopeScheduling):
    """Gives each folder of `TOGETHER`, and each other file, to one worker as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        folder = Path(path).parts[1]
        return folder if folder in TOGETHER else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Deal the tests to workers."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests of a release out, unless `-m` speaks of them; what takes longest comes first."""
    if "release" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("release")]
        items[:] = [item for item in items if item not in left_out]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
    items.sort(key=lambda item: _place(item.path.relative_to(HERE).parts[0]))


def _place(folder: str) -> int:
    return TOGETHER.index(folder) if folder in TOGETHER else len(TOGETHER)
