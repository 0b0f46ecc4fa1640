from collections.abc import Iterator
from pathlib import Path

import pytest
from control_plane import ControlPlane
from fake_kubelet import FakeKubelet
from object_server import ObjectServer
from operator_process import (
    BUCKET,
    OWN_NAMESPACE,
    OperatorProcess,
    install,
    missing_rights,
    write_platform,
)
from played_workloads import Player
from third_party import ThirdParty


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A MinIO with a bucket."""
    with ObjectServer("minio", tmp_path_factory.mktemp("minio")) as server:
        server.client().make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> None:
    """Everything that the README's installation makes; the operator's pod only plays."""
    install(control_plane)


@pytest.fixture(scope="module")
def operator(
    installed: None,
    control_plane: ControlPlane,
    third_party: ThirdParty,
    object_store: ObjectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProcess]:
    """The operator, running with the rights of its ServiceAccount.

    It ends with its module: other tests write statuses of their own on the same control plane.
    """
    folder = tmp_path_factory.mktemp("operator")
    process = OperatorProcess(
        control_plane.kubeconfig_of("assay-operator", OWN_NAMESPACE),
        write_platform(folder / "platform.yaml", object_store),
        object_store.environment,
        folder / "operator.log",
    )
    process.start()
    yield process
    assert process.running, process.log.read_text()[-4000:]
    assert process.stop() == 0, process.log.read_text()[-4000:]
    assert missing_rights(control_plane, process.log.read_text()) == []


@pytest.fixture
def player(
    control_plane: ControlPlane,
    kubelet: FakeKubelet,
    third_party: ThirdParty,
    object_store: ObjectServer,
    namespace: str,
) -> Player:
    """Plays the containers of a new namespace."""
    place = (BUCKET, f"main/{namespace}")
    return Player(control_plane.admin, kubelet, third_party, object_store.client(), place)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[2]
