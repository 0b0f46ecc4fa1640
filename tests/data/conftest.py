import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from object_server import ObjectServer

from assay_api import Dataset
from assay_data.store import Store, open_store


def write_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 16,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    shade: int = 0,
) -> Path:
    """Write a video of which frame `i` is grey of level `16 + 5 * i + shade`, modulo 200."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.bit_rate = 4_000_000
        for index in range(round(seconds * fps)):
            level = (16 + 5 * index + shade) % 200
            frame = np.full((size[1], size[0], 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clip() -> Callable[..., Path]:
    return write_clip


@pytest.fixture
def four_videos(tmp_path: Path) -> Path:
    """A source folder with two real videos and two fake ones."""
    root = tmp_path / "source"
    for number, place in enumerate(["real/a", "real/b", "fake/sora/c", "fake/d"]):
        write_clip(root / f"{place}.mp4", shade=10 * number)
    return root


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    def make(root: Path, *, frames: dict[str, object] | None = None, **source: object) -> Dataset:
        plan = {"count": 8, "fps": 4.0} | (frames or {})
        spec = {"source": {"folder": {"uri": str(root), **source}}, "frames": plan}
        return Dataset.model_validate({"metadata": {"name": "videos"}, "spec": spec})

    return make


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
