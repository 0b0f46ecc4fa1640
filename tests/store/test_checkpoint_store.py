import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import StoreError
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint, expired
from assay_data.store import MANIFEST, Store


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "shard.bin").write_bytes(b"state")
    return tree


def test_what_was_published_is_found_by_step_and_comes_back(store: Store, tree: Path) -> None:
    checkpoints = CheckpointStore(store)
    assert checkpoints.newest() is None
    for step in (20, 100, 3):
        (tree / "shard.bin").write_bytes(b"state %d" % step)
        checkpoints.publish(tree, SavedCheckpoint(step, 2, step / 100))
    assert [c.step for c in checkpoints.saved()] == [3, 20, 100]
    newest = checkpoints.newest()
    assert newest == SavedCheckpoint(100, 2, 1.0)
    folder = checkpoints.fetch(newest)
    assert (folder / "shard.bin").read_bytes() == b"state 100"
    assert json.loads((folder / "checkpoint.json").read_text())["world_size"] == 2


def test_one_without_manifest_or_with_a_damaged_file_is_passed_over(
    store: Store, tree: Path
) -> None:
    checkpoints = CheckpointStore(store)
    for step in (1, 2, 3):
        checkpoints.publish(tree, SavedCheckpoint(step, 1))
    store.delete(f"step-000003/{MANIFEST}")
    store.write("step-000002/shard.bin", b"STATE")
    assert [c.step for c in checkpoints.saved()] == [1, 2]
    assert checkpoints.newest() == SavedCheckpoint(1, 1)
    store.delete("step-000001/shard.bin")
    with pytest.raises(StoreError, match=r"shard\.bin"):
        checkpoints.newest()


def test_old_ones_go_but_for_the_best_and_those_in_use(store: Store, tree: Path) -> None:
    checkpoints = CheckpointStore(store)
    for step, score in [(1, 0.9), (2, None), (3, 0.2), (4, 0.1), (5, None)]:
        checkpoints.publish(tree, SavedCheckpoint(step, 1, score))
    checkpoints.pin("evaluation-7", 3)
    assert checkpoints.retire(keep_last=1, keep_best=1) == [2, 4]
    assert [c.step for c in checkpoints.saved()] == [1, 3, 5]
    checkpoints.unpin("evaluation-7")
    assert checkpoints.retire(keep_last=1, keep_best=0) == [1, 3]
    assert checkpoints.retire(keep_last=1, keep_best=0) == []


scores = st.one_of(st.none(), st.floats(0, 1))


@given(
    st.dictionaries(st.integers(0, 50), scores, max_size=12),
    st.integers(1, 4),
    st.integers(0, 4),
    st.sets(st.integers(0, 50)),
)
def test_retention_keeps_what_it_promises(
    found: dict[int, float | None], keep_last: int, keep_best: int, pinned: set[int]
) -> None:
    saved = [SavedCheckpoint(step, 1, score) for step, score in found.items()]
    gone = set(expired(saved, keep_last=keep_last, keep_best=keep_best, pinned=pinned))
    kept = set(found) - gone
    assert gone <= set(found)
    assert not gone & pinned
    assert set(sorted(found)[-keep_last:]) <= kept
    best = sorted((score for score in found.values() if score is not None), reverse=True)
    for score in best[:keep_best]:
        assert any(found[step] == score for step in kept)
    # And nothing else: what is kept has one of the three reasons.
    least_best = best[min(keep_best, len(best)) - 1] if keep_best and best else None
    for step in kept - pinned - set(sorted(found)[-keep_last:]):
        score = found[step]
        assert score is not None and least_best is not None and score >= least_best


def test_parts_of_several_machines_come_back_as_one_folder_and_go_together(
    store: Store, tree: Path, tmp_path: Path
) -> None:
    checkpoints = CheckpointStore(store)
    other = tmp_path / "other"
    (other / "learner").mkdir(parents=True)
    for step in (1, 2):
        (other / "learner/rank-1.pt").write_bytes(b"rank 1 at %d" % step)
        digest = checkpoints.publish_part(other, step, 1)
        checkpoints.publish(tree, SavedCheckpoint(step, 2, parts=(digest,)))
    # A third one of which only the part came so far.
    checkpoints.publish_part(other, 3, 1)
    assert [c.step for c in checkpoints.saved()] == [1, 2]
    newest = checkpoints.newest()
    assert newest is not None and newest.step == 2
    folder = checkpoints.fetch(newest)
    assert (folder / "learner/rank-1.pt").read_bytes() == b"rank 1 at 2"
    assert (folder / "shard.bin").read_bytes() == b"state"
    checkpoints.publish(tree, SavedCheckpoint(4, 2))
    assert checkpoints.retire(keep_last=1, keep_best=0) == [1, 2]
    assert {key.split("/")[0] for key in store.list()} == {"step-000004"}


def test_a_checkpoint_with_a_damaged_or_foreign_part_is_passed_over(
    store: Store, tree: Path
) -> None:
    checkpoints = CheckpointStore(store)
    for step in (1, 2, 3):
        digest = checkpoints.publish_part(tree, step, 1)
        checkpoints.publish(tree, SavedCheckpoint(step, 2, parts=(digest,)))
    store.write("step-000003-part-1/shard.bin", b"STATE")
    (tree / "shard.bin").write_bytes(b"of an earlier attempt")
    checkpoints.publish_part(tree, 2, 1)
    newest = checkpoints.newest()
    assert newest is not None and newest.step == 1


def test_one_file_is_fetched_alone_and_compared_with_what_was_written(
    store: Store, tree: Path, tmp_path: Path
) -> None:
    checkpoints, saved = CheckpointStore(store), SavedCheckpoint(3, 1)
    (tree / "large.bin").write_bytes(b"not asked for")
    assert checkpoints.publish(tree, saved) == checkpoints.digest(saved)
    store.delete("step-000003/large.bin")
    checkpoints.fetch_file(saved, "shard.bin", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == checkpoints.read(saved, "shard.bin") == b"state"
    with pytest.raises(StoreError, match=r"step-000003 has no nothing\.bin"):
        checkpoints.fetch_file(saved, "nothing.bin", tmp_path / "two")
    store.write("step-000003/shard.bin", b"STATE")
    with pytest.raises(StoreError, match=r"shard\.bin has 5 bytes with SHA-256 .* says"):
        checkpoints.fetch_file(saved, "shard.bin", tmp_path / "two")


def test_what_goes_after_it_was_listed_is_no_error(store: Store, tree: Path) -> None:
    """A stage saves and retires while others pin, look and unpin."""
    checkpoints = CheckpointStore(store)
    for step in (1, 2, 3):
        checkpoints.publish(tree, SavedCheckpoint(step, 1))
    checkpoints.pin("evaluation-a", 1)
    checkpoints.pin("evaluation-b", 2)

    late = CheckpointStore(VanishingStore(store, "pins/evaluation-a.json"))
    assert late.retire(keep_last=1, keep_best=0) == [1]
    late = CheckpointStore(VanishingStore(store, "step-000002"))
    assert [c.step for c in late.saved()] == [3]
    assert not checkpoints.is_there(SavedCheckpoint(2, 1))
    assert checkpoints.is_there(SavedCheckpoint(3, 1))


class VanishingStore:
    """A store in which something is deleted just after everything was listed."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key

    def list(self, prefix: str = "") -> list[str]:
        found = self._store.list(prefix)
        self._store.delete(self._key)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)
