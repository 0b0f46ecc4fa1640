"""Leases: who may work on a resource of a store that several machines reach."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from assay_api import StoreError
from assay_api.layout import ResourceId
from assay_data.store import FolderStore
from assay_operator.local.holder import Holder
from assay_operator.local.leases import lease

CLIPS = ResourceId("Dataset", "clips")
STAGE = ResourceId("TrainingStage", "foundation")
HERE = Holder(7, "here", "assay run -f a.yaml", "2026-01-01T00:00:00+00:00", "boot 1")
THERE = Holder(9, "there", "assay run -f b.yaml", "2026-01-01T00:00:01+00:00", "boot 2")
FAST = {"renew_seconds": 0.05, "dead_after_seconds": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_a_lease_is_held_renewed_and_given_back(store: FolderStore) -> None:
    with lease(store, [STAGE, CLIPS], HERE, **FAST) as held:
        first = store.read("locks/dataset-clips.json")
        assert json.loads(first)["host"] == "here"
        time.sleep(0.3)
        assert store.read("locks/dataset-clips.json") != first
        held.check()
    assert store.list() == []


def test_a_second_machine_is_refused_and_told_who_holds_it(store: FolderStore) -> None:
    with lease(store, [CLIPS], HERE, **FAST):
        with pytest.raises(StoreError, match=r"Dataset/clips in .* by process 7 on here"):
            with lease(store, [CLIPS, STAGE], THERE, **FAST):
                pass
        with lease(store, [STAGE], THERE, **FAST):
            pass
    assert store.list() == []


def test_the_lease_of_a_machine_that_died_is_taken_over(store: FolderStore) -> None:
    store.write("locks/dataset-clips.json", json.dumps({**asdict(THERE), "renewed": 3}).encode())
    started = time.monotonic()
    with lease(store, [CLIPS], HERE, **FAST):
        assert time.monotonic() - started >= 0.5, "it was taken before it could be renewed"
        assert json.loads(store.read("locks/dataset-clips.json"))["pid"] == 7


def test_the_lease_of_a_dead_run_of_this_machine_is_taken_over_at_once(store: FolderStore) -> None:
    earlier = replace(HERE, pid=2**30)
    store.write("locks/dataset-clips.json", json.dumps({**asdict(earlier), "renewed": 0}).encode())
    with lease(store, [CLIPS], HERE, renew_seconds=0.05, dead_after_seconds=3600):
        assert json.loads(store.read("locks/dataset-clips.json"))["pid"] == 7


def test_a_living_process_of_the_same_name_of_machine_is_not_robbed(store: FolderStore) -> None:
    with lease(store, [CLIPS], replace(HERE, machine="boot 2"), **FAST):
        with pytest.raises(StoreError, match="is being worked on"):
            with lease(store, [CLIPS], HERE, **FAST):
                pass


def test_who_lost_a_lease_is_told_and_leaves_the_new_holder_alone(store: FolderStore) -> None:
    theirs = json.dumps(asdict(THERE)).encode()
    with pytest.raises(StoreError, match="was taken over; this run stops"):
        with lease(store, [CLIPS], HERE, **FAST) as held:
            store.write("locks/dataset-clips.json", theirs)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                held.check()
                time.sleep(0.02)
    assert store.read("locks/dataset-clips.json") == theirs


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b'{"pid": 1}'])
def test_a_damaged_lease_is_nobodys(store: FolderStore, content: bytes) -> None:
    store.write("locks/dataset-clips.json", content)
    with lease(store, [CLIPS], HERE, **FAST):
        assert json.loads(store.read("locks/dataset-clips.json"))["pid"] == 7
