"""What every store promises: a folder, MinIO and versitygw alike."""

import hashlib
import json
import threading
from pathlib import Path

import pytest

from assay_api import StoreError
from assay_data.store import MANIFEST, Store, many, open_store
from assay_data.store.trees import JOURNAL


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    (root / "a.bin").write_bytes(b"alpha")
    (root / "empty").write_bytes(b"")
    (root / "deep" / "with space, ümlaut & +%.txt").write_bytes(b"beta")
    (root / "deep" / ".metadata").write_bytes(b"gamma")
    return root


def test_what_is_written_is_read_listed_copied_and_deleted(store: Store) -> None:
    store.write("x/one", b"1")
    store.write("x/two", b"2")
    store.write("x/one", b"uno")
    store.write("xx", b"")

    assert store.read("x/one") == b"uno"
    assert store.list() == ["x/one", "x/two", "xx"]
    assert store.list("x") == ["x/one", "x/two"]
    assert store.child("x").list() == ["one", "two"]
    assert open_store(store.child("x").url).read("two") == b"2"
    store.copy("x/one", "y/copy of one")
    assert store.read("y/copy of one") == b"uno"
    assert store.exists("x/one") and not store.exists("x") and not store.exists("x/three")
    store.delete("x/one")
    store.delete("x/one")
    assert not store.exists("x/one")
    store.delete("x")
    assert store.list() == ["xx", "y/copy of one"]


def test_a_missing_key_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read 'a/b' of .*there is no"):
        store.read("a/b")
    with pytest.raises(StoreError, match=r"'a/b' of .*there is no"):
        store.get("a/b", tmp_path / "there")
    with pytest.raises(StoreError, match=r"cannot copy 'a/b' of .*there is no"):
        store.copy("a/b", "c")
    with pytest.raises(StoreError, match=r"cannot read 'a/b' of .*there is no"):
        with store.stream("a/b"):
            pass
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", ".assay-work/x", "a\0b"])
def test_keys_that_leave_the_store_are_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        store.write(key, b"")
    with pytest.raises(ValueError, match="key"):
        store.delete(key)


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20, 16 * 2**20, 16 * 2**20 + 1, 40 * 2**20 + 7])
def test_files_of_any_size_come_back_as_they_went(store: Store, tmp_path: Path, size: int) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    (tmp_path / "file").write_bytes(data)
    store.put("big", tmp_path / "file")
    store.get("big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    with store.stream("big") as file:
        assert file.read(3) == data[:3]
        assert file.read() == data[3:]
        assert file.read() == b""


def test_of_many_that_create_a_key_one_does(store: Store, request: pytest.FixtureRequest) -> None:
    contents = [f"holder {number}".encode() for number in range(8)]
    created: list[bytes] = []

    def create(data: bytes) -> None:
        if store.create("lock", data):
            created.append(data)

    threads = [threading.Thread(target=create, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holder = store.read("lock")
    assert holder in created
    if "versitygw" not in request.node.name:
        assert created == [holder]
    # versitygw looks and writes in two steps, so two may be told that they did; whoever was written
    # over finds out at the next swap, as a lease does when it is renewed.
    swapped = [data for data in created if store.swap("lock", data + b", again", data)]
    assert swapped == [holder]
    assert store.list() == ["lock"]


def test_a_key_is_swapped_only_from_what_was_expected(store: Store) -> None:
    assert not store.swap("lock", b"new", b"old")
    assert store.create("lock", b"old")
    assert not store.swap("lock", b"new", b"other")
    assert store.read("lock") == b"old"
    assert store.swap("lock", b"new", b"old")
    assert store.read("lock") == b"new"


def test_a_published_tree_has_sizes_and_digests(store: Store, tree: Path, tmp_path: Path) -> None:
    digest = store.publish(tree, "out")
    files = json.loads(store.read(f"out/{MANIFEST}"))["files"]
    assert files["a.bin"] == {"size_bytes": 5, "sha256": hashlib.sha256(b"alpha").hexdigest()}
    assert len(files) == 4
    copy = store.fetch("out")
    for name in files:
        assert (copy / name).read_bytes() == (tree / name).read_bytes()
    store.verify("out")
    assert store.digest("out") == digest
    other = open_store(str(tmp_path / "elsewhere"))
    assert other.publish(tree, "") == digest, "the digest depends on the content alone"


def test_a_tree_without_manifest_is_not_there(store: Store, tree: Path) -> None:
    store.publish(tree, "out")
    store.delete(f"out/{MANIFEST}")
    for use in (store.fetch, store.digest, store.verify):
        with pytest.raises(StoreError, match=f"out holds nothing finished .it has no {MANIFEST}."):
            use("out")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b'{"files": {"a": {}}}', b'{"files": {"../a": {"size_bytes": 1, "sha256": "0"}}}'],
)
def test_a_manifest_that_is_none_is_named(store: Store, manifest: bytes) -> None:
    store.write(f"out/{MANIFEST}", manifest)
    for use in (store.fetch, store.digest, store.verify):
        with pytest.raises(StoreError, match=rf"out/{MANIFEST} is damaged .*: delete the folder"):
            use("out")


def test_a_file_that_changed_under_its_manifest_is_noticed(store: Store, tree: Path) -> None:
    store.publish(tree, "out")
    store.write("out/a.bin", b"ALPHA")
    with pytest.raises(StoreError, match=r"out/a\.bin.*SHA-256"):
        store.verify("out")
    store.delete("out/a.bin")
    with pytest.raises(StoreError, match=r" is damaged: there is no .*a\.bin"):
        store.fetch("out")


def test_a_new_publication_replaces_the_old_one_and_leaves_other_files(
    store: Store, tree: Path
) -> None:
    store.write("out/beside", b"kept")
    store.publish(tree, "out")
    (tree / "a.bin").unlink()
    (tree / "b.bin").write_bytes(b"gamma")
    store.publish(tree, "out")
    assert "out/a.bin" not in store.list() and store.read("out/beside") == b"kept"
    assert sorted(p.name for p in store.fetch("out").iterdir() if p.suffix == ".bin") == ["b.bin"]


def test_a_tree_may_be_the_whole_store(store: Store, tree: Path) -> None:
    store.write("mine.txt", b"kept")
    store.publish(tree, "")
    (tree / "a.bin").rename(tree / "b.bin")
    store.publish(tree, "")
    assert sorted(set(store.list()) - {MANIFEST}) == sorted(
        ["mine.txt", "b.bin", "empty", "deep/.metadata", "deep/with space, ümlaut & +%.txt"]
    )


def test_what_an_unfinished_publication_left_is_collected(store: Store, tree: Path) -> None:
    store.publish(tree, "whole")
    store.publish(tree, "half")
    leave_unfinished(store, "half", tree)
    assert store.collect_garbage(older_than_seconds=3600) == []
    gone = store.collect_garbage(older_than_seconds=-60)
    names = ["a.bin", "deep/.metadata", "deep/with space, ümlaut & +%.txt", "empty"]
    assert gone == [f"half/{name}" for name in names]
    assert [key for key in store.list() if key.startswith("half")] == []
    store.verify("whole")
    assert store.collect_garbage(older_than_seconds=-60) == []


def leave_unfinished(store: Store, prefix: str, tree: Path) -> None:
    """Put the store into the state in which a publication that was killed leaves it."""
    names = [path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()]
    store.delete(f"{prefix}/{MANIFEST}")
    journal = json.dumps(names).encode()
    write = getattr(store.child(prefix), "_write", None)
    if write is not None:
        write(JOURNAL, journal)
    else:
        (store.fetch("whole").parent / prefix / JOURNAL).write_bytes(journal)


def test_the_work_folder_outlives_the_process_and_is_no_part_of_the_store(store: Store) -> None:
    (store.work_folder() / "chunk").write_bytes(b"half")
    again = open_store(store.url)
    assert (again.work_folder() / "chunk").read_bytes() == b"half"
    assert again.list() == []
    again.clear_work_folder()
    again.clear_work_folder()
    assert list(store.work_folder().iterdir()) == []


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_people_are_told_how_far_a_large_tree_is(
    store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.publish(tree, "small")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(many, "SHOWN_BYTES", 1)
    store.publish(tree, "large")
    assert f"4 of 4 files to {store.url}/large" in capsys.readouterr().err
    store.fetch("large")
    assert f"4 of 4 files of {store.url}/large" in capsys.readouterr().err
    store.fetch("small")
    assert capsys.readouterr().err == "", "the same tree is on this machine already"
