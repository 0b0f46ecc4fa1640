import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api import InvalidInput, StoreError
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.order import ShuffledStream
from assay_data.dataset.reader import ClipReader, ReadPlan
from assay_data.store import Store

NUM_ROWS = 13
seeds = st.none() | st.integers(0, 2**31)


@pytest.fixture(scope="module")
def store(
    published: Callable[..., Store],
    new_row: Callable[..., ClipRow],
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    return published(
        tmp_path_factory.mktemp("clips"), [new_row(f"v{index:02}") for index in range(NUM_ROWS)]
    )


@pytest.fixture(scope="module")
def clips(store: Store) -> ClipDataset:
    return ClipDataset.open(store)


def ids(reader: ClipReader, count: int | None = None) -> list[str]:
    return [clip.row.row_id for clip in islice(reader, count)]


@settings(max_examples=25, deadline=None)
@given(seed=seeds, num_ranks=st.integers(1, 5), rounds=st.integers(0, 3))
def test_each_round_has_every_row_once_over_all_ranks(clips, seed, num_ranks, rounds) -> None:
    shares: list[list[str]] = []
    turns: Counter[tuple[int, str]] = Counter()
    for rank in range(num_ranks):
        plan = ReadPlan(seed=seed, rounds=rounds, rank=rank, num_ranks=num_ranks)
        with ClipReader(clips, clips.rows(), plan) as reader:
            share = list(reader)
        shares.append([clip.row.row_id for clip in share])
        turns.update((clip.turn, clip.row.row_id) for clip in share)

    assert turns == {(turn, r.row_id): 1 for turn in range(rounds) for r in clips.rows()}
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    expected = ShuffledStream(clips.rows(), seed).draw(0, rounds * NUM_ROWS)
    dealt = [share[i] for i in range(len(shares[0])) for share in shares if i < len(share)]
    assert dealt == [row.row_id for _, row in expected]


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    phases=st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=4), max_size=3),
    num_ranks=st.integers(1, 4),
)
def test_what_was_not_delivered_comes_after_a_restore_and_nothing_else(
    clips, seed, phases, num_ranks
) -> None:
    saved: list[object] = []
    delivered: list[str] = []

    def read(counts: list[int | None]) -> list[object]:
        positions = []
        for rank, count in enumerate(counts):
            plan = ReadPlan(seed=seed, rounds=2, rank=rank, num_ranks=len(counts))
            with ClipReader(clips, clips.rows(), plan) as reader:
                if saved:
                    reader.restore(saved)
                delivered.extend(ids(reader, count))
                positions.append(json.loads(json.dumps(reader.position())))
        return positions

    for counts in phases:
        saved = read(list(counts))
    read([None] * num_ranks)

    assert Counter(delivered) == {row.row_id: 2 for row in clips.rows()}


def test_frames_are_those_of_the_dataset(clips: ClipDataset) -> None:
    with ClipReader(clips, clips.rows(), ReadPlan(seed=1, rounds=1, threads=3)) as reader:
        for clip in reader:
            assert np.array_equal(clip.frames, clips.frames(clip.row.row_id))
            assert not clip.frames.flags.writeable


def test_a_reader_can_be_set_back_while_it_reads_ahead(clips: ClipDataset) -> None:
    with ClipReader(clips, clips.rows(), ReadPlan(seed=3)) as reader:
        first = ids(reader, 5)
        position = reader.position()
        then = ids(reader, 30)
        reader.restore([position])
        assert ids(reader, 30) == then
        assert len({*first, *then[: NUM_ROWS - 5]}) == NUM_ROWS


def test_a_position_of_other_rows_or_another_seed_is_refused(clips: ClipDataset) -> None:
    with ClipReader(clips, clips.rows(), ReadPlan(seed=1)) as reader:
        position = reader.position()
        others = [
            ClipReader(clips, clips.rows(), ReadPlan(seed=2)),
            ClipReader(clips, clips.rows()[1:], ReadPlan(seed=1)),
        ]
        for other in others:
            with other, pytest.raises(InvalidInput, match="other rows or of another order"):
                other.restore([position])


def test_a_closed_reader_does_not_look_like_one_at_its_end(clips: ClipDataset) -> None:
    with ClipReader(clips, clips.rows(), ReadPlan(seed=1)) as reader:
        next(reader)
    assert reader.held_bytes == 0
    assert reader.position()["delivered"] == [1]
    with pytest.raises(ValueError, match="reader is closed"):
        next(reader)


def test_no_rows_are_refused(clips: ClipDataset) -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        ClipReader(clips, (), ReadPlan())


@pytest.mark.parametrize(
    "wrong", [{"rank": 2, "num_ranks": 2}, {"threads": 0}, {"read_ahead_bytes": 0}, {"rounds": -1}]
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReadPlan(**wrong)


def test_a_row_that_cannot_be_read_comes_in_its_turn_and_does_not_count(
    published: Callable[..., Store], new_row: Callable[..., ClipRow], tmp_path: Path
) -> None:
    dataset = ClipDataset.open(published(tmp_path, [new_row(name) for name in "abcdefg"]))
    (tmp_path / "dataset/shards/part-00001.parquet").write_bytes(b"")
    with ClipReader(dataset, dataset.rows(), ReadPlan(threads=4)) as reader:
        assert ids(reader, 5) == ["a-0", "b-0", "c-0", "d-0", "e-0"]
        before = reader.position()
        for _ in range(2):
            with pytest.raises(StoreError, match=r"part-00001\.parquet is damaged .*ingest"):
                next(reader)
        assert reader.position() == before


CHILD = """
import json, sys, time
from assay_data.dataset import ClipDataset
from assay_data.dataset.reader import ClipReader, ReadPlan
from assay_data.store import open_store

clips = ClipDataset.open(open_store(sys.argv[1]))
reader = ClipReader(clips, clips.rows(), ReadPlan(seed=5, rounds=2, threads=4))
for clip in reader:
    print(json.dumps([clip.row.row_id, reader.position()]), flush=True)
    time.sleep(0.05)
"""


def test_rows_read_ahead_by_a_killed_process_are_not_lost(store: Store, clips: ClipDataset) -> None:
    command = [sys.executable, "-c", CHILD, store.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [json.loads(next(child.stdout)) for _ in range(4)]
        child.send_signal(signal.SIGKILL)
        told += [json.loads(line) for line in child.stdout]
    assert child.returncode == -signal.SIGKILL
    delivered = [row_id for row_id, _ in told]
    for rank in range(2):
        plan = ReadPlan(seed=5, rounds=2, rank=rank, num_ranks=2)
        with ClipReader(clips, clips.rows(), plan) as reader:
            reader.restore([told[-1][1]])
            delivered += ids(reader)

    assert 4 <= len(told) < 2 * NUM_ROWS
    assert Counter(delivered) == {row.row_id: 2 for row in clips.rows()}


def test_an_abandoned_reader_does_not_keep_the_process_alive(store: Store) -> None:
    code = CHILD.replace("time.sleep(0.05)", "raise SystemExit(3)")
    done = subprocess.run(
        [sys.executable, "-c", code, store.url], stdout=subprocess.PIPE, timeout=60
    )
    assert done.returncode == 3


@pytest.fixture(scope="module")
def large_clips(
    published: Callable[..., Store],
    new_row: Callable[..., ClipRow],
    tmp_path_factory: pytest.TempPathFactory,
) -> ClipDataset:
    """Ten clips, each of 4 frames of 560x560 pixels: 3.8 MB decoded."""
    size = {"width": 560, "height": 560, "timestamps_seconds": (0.0, 1.0, 2.0, 3.0)}
    rows = [new_row(f"v{index}", **size) for index in range(10)]
    return ClipDataset.open(published(tmp_path_factory.mktemp("large"), rows))


def most_bytes_held(clips: ClipDataset, read_ahead_bytes: int) -> tuple[int, int]:
    """Return the most bytes that were held by a reader's count, and that were allocated."""
    plan = ReadPlan(rounds=1, threads=2, read_ahead_bytes=read_ahead_bytes)
    tracemalloc.start()
    try:
        counted = 0
        with ClipReader(clips, clips.rows(), plan) as reader:
            for _ in reader:
                counted = max(counted, reader.held_bytes)
                time.sleep(0.03)
        return counted, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("num_held", [0.1, 1, 2.5])
def test_bytes_held_stay_within_the_budget(large_clips: ClipDataset, num_held: float) -> None:
    images = large_clips.images("v0-0")
    decoded = large_clips.frames("v0-0").nbytes
    files = sum(map(len, images))
    budget = round(num_held * (decoded + files))

    counted, allocated = most_bytes_held(large_clips, budget)

    # Beside what is read ahead: the clip that was delivered, and per thread the files of the next
    # clip, as Parquet and as a copy, and one frame while it is put among the others.
    beside = decoded + 2 * (2 * files + 2 * decoded // 4)
    held = max(budget, decoded + files)
    assert 0 < counted <= held + files // 10
    assert allocated < held + beside + 2**20


def test_reading_goes_on_while_whoever_reads_is_busy(large_clips: ClipDataset) -> None:
    clip_bytes = large_clips.frames("v0-0").nbytes + sum(map(len, large_clips.images("v0-0")))
    plan = ReadPlan(rounds=1, read_ahead_bytes=round(4.5 * clip_bytes))
    with ClipReader(large_clips, large_clips.rows(), plan) as reader:
        next(reader)
        deadline = time.monotonic() + 30
        while reader.held_bytes < 3.9 * clip_bytes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 3.9 * clip_bytes < reader.held_bytes <= 4.5 * clip_bytes
        assert len(list(reader)) == 9
        assert reader.held_bytes == 0


def test_without_a_bound_all_of_it_is_held(large_clips: ClipDataset) -> None:
    with ClipReader(large_clips, large_clips.rows(), ReadPlan(rounds=1)) as reader:
        next(reader)
        deadline = time.monotonic() + 30
        while (
            reader.held_bytes < 9 * large_clips.frames("v0-0").nbytes
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        assert reader.held_bytes > 9 * large_clips.frames("v0-0").nbytes
