import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay_data.dataset import ClipDataset
from assay_data.dataset.contact_sheet import (
    FRAME_PIXELS,
    MOST_CLIPS,
    choose_clips,
    draw_contact_sheet,
    drawable,
    jpeg_within,
    png,
)
from assay_data.dataset.shards import ClipRow, write_shard
from assay_data.store import FolderStore, Store

kinds = st.lists(st.sampled_from(["real", "sora", "pika", "kling"]), min_size=1, max_size=40)


@given(kinds=kinds, count=st.integers(1, 50), seed=st.integers(0, 100))
def test_generators_take_turns_and_the_seed_decides(new_row, kinds, count, seed) -> None:
    rows = [
        new_row(f"v{i}", generator=kind, label="real" if kind == "real" else "fake")
        for i, kind in enumerate(kinds)
    ]

    chosen = choose_clips(rows, count, seed)

    assert len(set(chosen)) == len(chosen) == min(count, len(rows))
    assert chosen == choose_clips(rows, count, seed)
    shown, there = Counter(row.generator for row in chosen), Counter(kinds)
    if count >= len(there):
        assert shown.keys() == there.keys()
    for kind, number in there.items():
        assert shown[kind] >= min(number, max(shown.values()) - 1)
    if count > 1 and len({row.label for row in rows}) == 2:
        assert {row.label for row in chosen} == {"real", "fake"}


def test_other_seeds_choose_other_clips(new_row: Callable[..., ClipRow]) -> None:
    rows = [new_row(f"v{i}") for i in range(100)]

    assert len({choose_clips(rows, 3, seed) for seed in range(10)}) > 5


def test_videos_take_turns_before_a_second_clip_of_one(new_row: Callable[..., ClipRow]) -> None:
    rows = [new_row(f"v{v}c{c}", video_id=f"v{v}") for v in range(4) for c in range(9)]

    assert sorted(r.video_id for r in choose_clips(rows, 4, 0)) == ["v0", "v1", "v2", "v3"]


def test_every_generator_is_shown_unless_there_are_too_many(
    new_row: Callable[..., ClipRow],
) -> None:
    rows = [new_row(f"v{i}", generator=f"g{i}", label="fake") for i in range(150)]

    assert len(choose_clips(rows[:30], None, 0)) == 30
    assert len(choose_clips(rows, None, 0)) == MOST_CLIPS
    assert choose_clips([], None, 0) == ()


def publish(folder: Path, clips: list[tuple[ClipRow, tuple[bytes, ...]]]) -> ClipDataset:
    write_shard(folder / "tree/shards/0.parquet", clips)
    (folder / "tree/dataset.json").write_text('{"shards": ["shards/0.parquet"]}')
    store = FolderStore(folder / "store")
    store.publish(folder / "tree", "")
    return ClipDataset.open(store)


def flat(width: int, height: int, level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (level, level, level)).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_frames_come_in_the_order_of_time(new_row: Callable[..., ClipRow], tmp_path: Path) -> None:
    levels, times = (200, 20, 120), (2.0, 0.0, 1.0)
    row = new_row("a", timestamps_seconds=times, width=56, height=56)
    dataset = publish(tmp_path, [(row, tuple(flat(56, 56, level) for level in levels))])

    sheet = np.asarray(draw_contact_sheet(dataset, dataset.rows()))

    middle = sheet[8 + 32 + 28]  # margin, two lines, half a frame
    shown = [int(middle[8 + 28 + n * (FRAME_PIXELS + 8)].mean()) for n in range(4)]
    assert shown == pytest.approx([20, 120, 200, 255], abs=3)


NAMES = ["x" * 5000, "视频/" * 200, "a\nb\x1b[0m\udc80", "", "Ω\u202e\u0301"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_and_size_can_be_drawn(
    new_row: Callable[..., ClipRow], tmp_path: Path, name: str
) -> None:
    name = name.encode("utf-8", "backslashreplace").decode()  # Parquet takes no lone surrogates.
    odd = [(1, 1), (2000, 10), (10, 2000), (57, 3)]
    clips = [
        (new_row(f"{name}{i}", generator=name, split=name, width=w, height=h), (flat(w, h, 9),) * 2)
        for i, (w, h) in enumerate(odd)
    ]
    bare = new_row(f"{name}bare", timestamps_seconds=(), width=0, height=0)
    untimed = new_row(f"{name}untimed", timestamps_seconds=())
    mixed = new_row(f"{name}mixed")
    clips += [(bare, ()), (untimed, (flat(5, 5, 9),) * 9)]
    clips += [(mixed, (flat(5, 5, 9), flat(9, 7, 9)))]
    dataset = publish(tmp_path, clips)

    sheet = draw_contact_sheet(dataset, dataset.rows())

    assert sheet.width < 1100
    assert Image.open(io.BytesIO(png(sheet))).size == sheet.size


def test_a_dataset_without_clips_has_a_sheet(tmp_path: Path) -> None:
    dataset = publish(tmp_path, [])

    assert draw_contact_sheet(dataset, ()).height < 50


@given(st.text())
def test_what_is_drawn_is_plain_text_on_one_line(text: str) -> None:
    assert drawable(text).isascii()
    assert drawable(text).isprintable()


@pytest.mark.parametrize("max_bytes", [700, 5_000, 50_000, 500_000])
def test_a_sheet_is_made_to_fit(max_bytes: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 400, 3), dtype=np.uint8)
    sheet = Image.fromarray(noise)

    made = jpeg_within(sheet, max_bytes)

    assert len(made) <= max_bytes
    width, height = Image.open(io.BytesIO(made)).size
    assert width / height == pytest.approx(400 / 600, rel=0.2)
    assert (max_bytes < 500_000) == (len(made) < len(jpeg_within(sheet, 10**9)))


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes must leave room"):
        jpeg_within(Image.new("RGB", (40, 40)), 10)


def test_the_sheet_of_a_published_dataset_is_the_same_each_time(
    published: Callable[..., Store], new_row: Callable[..., ClipRow], tmp_path: Path
) -> None:
    dataset = ClipDataset.open(published(tmp_path, [new_row(name) for name in "abcdefg"]))
    rows = choose_clips(dataset.rows(), 3, 0)

    assert png(draw_contact_sheet(dataset, rows)) == png(draw_contact_sheet(dataset, rows))
