"""What a store in a folder promises beside what every store does."""

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api import InvalidInput, StoreError
from assay_data.store import FolderStore, local_path, open_store


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    (root / "a.bin").write_bytes(b"alpha")
    (root / "deep" / ".metadata").write_bytes(b"beta")
    return root


@pytest.mark.parametrize("url", ["gs://bucket/x", "file://host/x", "", "http://x"])
def test_other_urls_are_refused_with_those_allowed(url: str) -> None:
    with pytest.raises(InvalidInput, match="allowed are a path"):
        open_store(url)


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_a_url_leads_back_to_its_folder(name: str) -> None:
    folder = Path("/data") / f"x{name}"

    assert local_path(FolderStore(folder).url) == folder


def test_changed_files_are_noticed(store: FolderStore, tree: Path) -> None:
    store.publish(tree, "out")
    store.path("out/a.bin").write_bytes(b"ALPHA")
    store.fetch("out")
    with pytest.raises(StoreError, match=r"a\.bin has SHA-256"):
        store.verify("out")

    store.path("out/a.bin").write_bytes(b"alp")
    with pytest.raises(StoreError, match=r"a\.bin has 3 bytes, its manifest says 5"):
        store.fetch("out")

    store.path("out/a.bin").unlink()
    with pytest.raises(StoreError, match=r"a\.bin"):
        store.fetch("out")


def _publish_and_die(root: Path, tree: Path) -> None:
    """Publish, but die by SIGKILL when the second file is about to be put in place."""
    count = 0
    put_in_place = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == 3:  # the journal is the first
            os.kill(os.getpid(), signal.SIGKILL)
        return put_in_place(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]
    FolderStore(root).publish(tree, "out")


def test_a_killed_publication_is_not_there_and_is_cleared_by_the_next(
    store: FolderStore, tree: Path, tmp_path: Path
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_publish_and_die, args=(tmp_path / "store", tree)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert store.list("out") == ["out/a.bin"]
    with pytest.raises(StoreError, match="holds nothing finished"):
        store.digest("out")

    (tree / "a.bin").unlink()
    store.publish(tree, "out")

    assert store.list("out") == ["out/deep/.metadata", "out/manifest.json"]
    assert not list(tmp_path.rglob(".assay-*"))


def test_a_write_beyond_the_limit_keeps_the_old_content(store: FolderStore) -> None:
    store.write("model", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(StoreError, match=r"nothing of it was kept.*ulimit"):
            store.write("model", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert store.read("model") == b"old"
    assert store.list() == ["model"]
    assert os.listdir(store.path("")) == ["model"]


def test_a_full_disk_is_reported_with_what_to_do() -> None:
    with pytest.raises(StoreError, match="disk is full: free some space"):
        from assay_data.atomic import world_errors

        with world_errors(Path("/dev/full"), "cannot write"):
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(StoreError, match="taken"):
        FolderStore(tmp_path / "taken").write("key", b"")
