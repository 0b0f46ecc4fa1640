"""The cache that processes and pods of a machine share: what is fetched, and what is evicted."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_proxy import Fault, FaultyProxy, Request
from object_server import ObjectServer

from assay_api import Dataset, InvalidInput, Split
from assay_data.dataset import ClipDataset, clip_shapes
from assay_data.ingest import build_dataset
from assay_data.store import local_copy, open_store
from assay_data.store.tree_cache import cached_tree
from assay_trainer.models.published import is_model_file, model_description, model_folder

MIB = 2**20
FETCH = """
import logging, os, sys
from assay_data.store import local_copy
from assay_data.store.tree_cache import keep_through_exec
folder = str(local_copy(sys.argv[1]))
keep_through_exec()
wait = "import sys; print(sys.argv[1], flush=True); input()"
os.execv(sys.executable, [sys.executable, "-c", wait, folder])
"""


class Fetcher:
    """Another process, which fetches a tree and becomes a program that uses it."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-c", FETCH, url]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def folder(self) -> Path:
        """Return the tree's folder, when it is there."""
        assert self.process.stdout is not None
        return Path(self.process.stdout.readline().decode().strip())

    def end(self) -> None:
        self.process.communicate(b"end\n", timeout=30)


@pytest.fixture
def way(
    minio: ObjectServer, minio_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    """The way to an empty bucket, on which requests are counted."""
    with FaultyProxy(minio.port, lambda request: None) as proxy:
        proxy.bucket = minio_bucket
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def downloads(way: FaultyProxy, prefix: str = "") -> list[str]:
    """Return the names of the objects that were read, as often as they were, manifests left out."""
    start = f"/{way.bucket.removeprefix('s3://')}/{prefix}"
    read = [r.path.partition("?")[0] for r in way.requests if r.method == "GET"]
    names = [path.removeprefix(start) for path in read if path.startswith(start)]
    return sorted(name for name in names if name and not name.endswith("manifest.json"))


def publish(way: FaultyProxy, folder: Path, name: str, size_bytes: int) -> str:
    tree = folder / name
    tree.mkdir(parents=True)
    (tree / "weights.bin").write_bytes(os.urandom(size_bytes))
    (tree / "config.json").write_text(name)
    open_store(way.bucket).publish(tree, name)
    return f"{way.bucket}/{name}"


def cache(tmp_path: Path) -> list[str]:
    """Return the names of what is in the cache beside locks."""
    return sorted(p.name for p in (tmp_path / "cache/trees").iterdir() if p.suffix != ".lock")


def test_processes_that_want_the_same_tree_fetch_it_once(way: FaultyProxy, tmp_path: Path) -> None:
    url = publish(way, tmp_path, "model", 3 * MIB)
    way.requests.clear()
    fetchers = [Fetcher(url) for _ in range(4)]
    folders = {fetcher.folder() for fetcher in fetchers}
    for fetcher in fetchers:
        fetcher.end()

    assert len(folders) == 1
    assert downloads(way, "model/") == ["config.json", "weights.bin"]
    assert (Path(folders.pop()) / "weights.bin").stat().st_size == 3 * MIB


def test_a_tree_that_another_process_fetches_and_keeps_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    trees = tmp_path / "cache/trees"
    trees.mkdir(parents=True)
    with (trees / "abc.lock").open("ab") as other:
        # Both have seen that the tree is missing; the other one gets it, and keeps it for its life.
        fcntl.flock(other, fcntl.LOCK_SH)
        waits = threading.Thread(target=cached_tree, args=("abc", int, Path.rmdir, "s3://b/t"))
        waits.start()
        waits.join(0.2)
        assert waits.is_alive()
        (trees / "abc").mkdir()
        waits.join(30)

        assert not waits.is_alive()


def test_what_a_killed_fetch_left_is_cleared_and_a_waiting_process_goes_on(
    minio: ObjectServer, minio_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog
) -> None:
    hangs = threading.Event()

    def rule(request: Request) -> Fault | None:
        if request.method == "GET" and "weights" in request.path and not hangs.is_set():
            hangs.set()
            return Fault(wait_seconds=60)
        return None

    with FaultyProxy(minio.port, rule) as proxy:
        proxy.bucket = minio_bucket
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        one, two = (publish(proxy, tmp_path, name, MIB) for name in ("one", "two"))
        killed = Fetcher(one)
        assert hangs.wait(30)
        (left,) = cache(tmp_path)
        assert left.startswith(".assay-tmp-")
        caplog.set_level("INFO")
        waits = threading.Thread(target=local_copy, args=(one,))
        waits.start()
        while "waiting for another process" not in caplog.text:
            time.sleep(0.02)
        killed.process.kill()
        waits.join(30)
        killed.end()

    assert local_copy(one).joinpath("weights.bin").stat().st_size == MIB
    assert f"fetches {one}" in caplog.text
    assert all(not name.startswith(".assay") for name in cache(tmp_path))
    # Also what is left of a tree that nobody asks for any more.
    (tmp_path / "cache/trees/.assay-tmp-0123").mkdir()
    local_copy(two)
    assert all(not name.startswith(".assay") for name in cache(tmp_path))


def test_a_tree_in_use_by_another_process_is_not_evicted_and_that_is_told(
    way: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    used, unused, new = (publish(way, tmp_path, f"{n}", MIB) for n in ("used", "unused", "new"))
    fetchers = {url: Fetcher(url) for url in (used, unused)}
    folders = {url: fetcher.folder() for url, fetcher in fetchers.items()}
    fetchers[unused].end()
    monkeypatch.setenv("ASSAY_CACHE_GIB", str(1.5 / 1024))

    folder = local_copy(new)

    assert folders[used].is_dir() and folder.is_dir()
    assert not folders[unused].exists()
    assert "grows beyond ASSAY_CACHE_GIB=0.00146484: all trees in it are in use" in caplog.text
    fetchers[used].end()


def test_a_tree_that_is_being_removed_does_not_look_whole(
    way: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it evicts leaves nothing that the next one takes for whole."""
    url, other = publish(way, tmp_path, "tree", MIB), publish(way, tmp_path, "other", MIB)
    first = Fetcher(url)
    folder = first.folder()
    first.end()
    monkeypatch.setenv("ASSAY_CACHE_GIB", "0")
    removed: dict[str, bool] = {}
    remove = shutil.rmtree

    def watched(path: Path) -> None:
        removed[path.name] = folder.exists()
        remove(path)

    monkeypatch.setattr("assay_data.store.tree_cache.shutil.rmtree", watched)
    local_copy(other)

    assert removed[f".assay-tmp-{folder.name}"] is False


MODEL = {
    "config.json": '{"model_type": "qwen2_5_vl"}',
    "tokenizer.json": "{}",
    "merges.txt": "a b",
    "chat_template.jinja": "{{ messages }}",
    "model-00001-of-00002.safetensors": "x" * MIB,
    "model-00002-of-00002.safetensors": "y" * MIB,
}
BESIDE = ["pytorch_model.bin", "training_args.pt", "README.md", "modeling.py", "onnx/config.json"]


@pytest.mark.parametrize("published", [True, False])
def test_of_a_model_only_what_is_needed_is_fetched(
    way: FaultyProxy, tmp_path: Path, published: bool
) -> None:
    store = open_store(way.bucket).child("model")
    if published:
        for name, text in {**MODEL, **dict.fromkeys(BESIDE, "no")}.items():
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / name).write_text(text)
        store.publish(tmp_path / "tree", "")
    else:
        for name, text in {**MODEL, **dict.fromkeys(BESIDE, "no")}.items():
            store.write(name, text.encode())
    small = sorted(name for name in MODEL if not name.endswith(".safetensors"))
    way.requests.clear()

    described = model_description(f"{way.bucket}/model")

    assert downloads(way, "model/") == sorted(path.name for path in described.iterdir()) == small
    way.requests.clear()

    folder = model_folder(f"{way.bucket}/model")

    assert downloads(way, "model/") == sorted(MODEL)
    assert sorted(path.name for path in folder.iterdir()) == sorted(MODEL)
    way.requests.clear()
    model_folder(f"{way.bucket}/model")
    assert downloads(way, "model/") == []


def test_a_model_of_pickles_is_refused_before_anything_large_is_fetched(way: FaultyProxy) -> None:
    store = open_store(way.bucket).child("model")
    for name in ("config.json", "pytorch_model.bin"):
        store.write(name, MODEL.get(name, "pickle").encode())

    with pytest.raises(InvalidInput, match=r"no weights \(\*\.safetensors\) there, found config"):
        model_description(f"{way.bucket}/model")
    assert downloads(way, "model/") == ["config.json"]


@pytest.mark.parametrize(
    "name", ["consolidated.00.pth", "weights.pkl", "a/model.safetensors", "run.py", "x.gguf"]
)
def test_pickles_code_and_other_formats_are_no_model_files(name: str) -> None:
    assert not is_model_file(name)


def test_of_a_dataset_only_the_split_that_is_needed_is_fetched(
    way: FaultyProxy, tmp_path: Path
) -> None:
    source = {"synthetic": {"numVideos": 8, "widthPixels": 56, "seconds": 1.0}}
    spec = {"source": source, "frames": {"count": 2}, "split": {"testFraction": 0.3}}
    dataset = Dataset.model_validate({"metadata": {"name": "clips"}, "spec": spec})
    store = open_store(way.bucket).child("clips")
    build_dataset(dataset, store, 2, lambda done, total: None)
    way.requests.clear()

    assert clip_shapes(store) == [(2, 56, 56)]
    assert not any("parquet" in name for name in downloads(way))

    held_out = ClipDataset.open(store, Split.TEST)

    shards = [name for name in downloads(way, "clips/") if "parquet" in name]
    assert shards == ["data/test-00000-of-00001.parquet"]
    assert held_out.rows() == held_out.rows(Split.TEST) != ()
    both = ClipDataset.open(store)
    assert both.rows(Split.TEST) == held_out.rows() and both.digest == held_out.digest
    assert both.info.keys() == held_out.info.keys()
