import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_server import ObjectServer

from assay_data.store import Store, open_store


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A MinIO server."""
    with ObjectServer("minio", tmp_path_factory.mktemp("minio") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A versitygw server: nothing may depend on MinIO alone."""
    with ObjectServer("versitygw", tmp_path_factory.mktemp("versitygw") / "data") as server:
        yield server


@pytest.fixture
def minio_bucket(minio: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the URL of an empty bucket of MinIO; the environment leads to it."""
    return new_bucket(minio, monkeypatch, tmp_path)


@pytest.fixture(params=["minio", "versitygw"])
def server(request: pytest.FixtureRequest) -> ObjectServer:
    """Each server in turn."""
    found: ObjectServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the URL of an empty bucket; the environment leads to its server."""
    return new_bucket(server, monkeypatch, tmp_path)


def new_bucket(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ASSAY_CACHE", str(folder / "cache"))
    name = f"test-{uuid.uuid4().hex[:12]}"
    server.client().make_bucket(name)
    return f"s3://{name}"


@pytest.fixture(params=["folder", "minio", "versitygw"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """An empty store of each kind in turn."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    server = request.getfixturevalue(request.param)
    return open_store(new_bucket(server, monkeypatch, tmp_path) + "/some/prefix")
