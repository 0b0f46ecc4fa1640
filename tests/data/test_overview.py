from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_data.dataset import ClipDataset
from assay_data.dataset.overview import Kind, Overview, Spread, open_overview, overview
from assay_data.dataset.shards import ClipRow
from assay_data.dataset.usable import Lack
from assay_data.drops import Drop, DropReason
from assay_data.store import Store
from assay_trainer.cli.overview_text import overview_text, printable


@pytest.fixture
def rows(new_row: Callable[..., ClipRow]) -> list[ClipRow]:
    fake = {"label": "fake", "generator": "sora", "video_id": "b"}
    return [
        new_row("a", answer="A"),
        new_row("b", **fake, end_seconds=2.5, split="Test"),
        new_row("b2", **fake, end_seconds=1.0, split="Test", timestamps_seconds=(0.0,) * 4),
        new_row("c", width=30),
        new_row(
            "d", label="", generator="", task="maths", width=0, height=0, timestamps_seconds=()
        ),
    ]


DROPS = [
    Drop("real/z.mp4", DropReason.CORRUPT, "no decoder"),
    Drop("real/y.mp4", DropReason.CORRUPT, "no decoder"),
    Drop("a.txt", DropReason.NOT_A_VIDEO, "text"),
    Drop("real/x\n.mp4", DropReason.CORRUPT, "d" * 300),
    Drop("real/w.mp4", DropReason.CORRUPT, "no decoder"),
]


def test_numbers_of_a_small_dataset(rows: list[ClipRow]) -> None:
    found = overview(rows, DROPS, 1234)

    assert (found.num_rows, found.num_videos, found.size_bytes) == (5, 4, 1234)
    assert (found.num_with_frames, found.tasks) == (4, {"-": 4, "maths": 1})
    assert found.kinds == (
        Kind("Test", "fake", "sora", num_rows=2, num_videos=1, seconds=3.5),
        Kind("Train", "real", "real", num_rows=2, num_videos=2, seconds=10.0),
        Kind("Train", "unlabelled", "unlabelled", num_rows=1, num_videos=1, seconds=5.0),
    )
    assert found.clip_seconds == Spread(1.0, 2.5, 5.0)
    assert found.frames_per_clip == Spread(2, 2, 4)
    # 56x28 pixels are 2 tokens for each two frames; 30 is no multiple of 28.
    assert found.visual_tokens == Spread(2, 2, 4)
    assert found.frame_sizes == {"56x28": 3, "30x28": 1}
    assert found.lacks == {Lack.EVEN_FRAMES: 1, Lack.FRAMES: 1}
    assert [(d.reason, d.num_files) for d in found.drops] == [("Corrupt", 4), ("NotAVideo", 1)]
    examples = [example.source for example in found.drops[0].examples]
    assert examples == ["real/w.mp4", "real/x\n.mp4", "real/y.mp4"]


def test_what_rows_lack_for_training_is_told(rows: list[ClipRow]) -> None:
    text = overview_text("file:///a", "0" * 64, overview(rows, [], 1))

    assert f"leave out:\n  {Lack.EVEN_FRAMES}: 1\n  {Lack.FRAMES}: 1\n\ndropped" in text
    assert "leave out" not in overview_text("file:///a", "0" * 64, overview(rows[:2], [], 1))


def test_a_dataset_of_nothing_has_an_overview_too() -> None:
    found = overview([], [], 0)

    assert found.clip_seconds is found.visual_tokens is None
    assert "dropped: no files" in overview_text("file:///a", "0" * 64, found)


def test_the_size_is_that_of_the_published_files(
    published: Callable[..., Store], rows: list[ClipRow], tmp_path: Path
) -> None:
    store = published(tmp_path, rows, DROPS)
    files = [path for path in (tmp_path / "tree").rglob("*") if path.is_file()]

    found = open_overview(store, ClipDataset.open(store))

    assert found.size_bytes == sum(path.stat().st_size for path in files)
    assert found.num_dropped == len(DROPS)


def test_the_text_is_aligned_and_each_reason_has_examples(rows: list[ClipRow]) -> None:
    text = overview_text("file:///a", "0" * 64, overview(rows, DROPS, 1_234_567))

    assert (
        """\
split  class       generator   rows  videos  seconds
Test   fake        sora           2       1      3.5
Train  real        real           2       2     10.0
Train  unlabelled  unlabelled     1       1      5.0
"""
        in text
    )
    assert (
        "size     1.2 MB\nrows     5 about 4 videos or questions, 4 with frames, "
        "4 without an answer\n" in text
    )
    assert "tasks    - 4, maths 1\nsplits   Test 2, Train 3\n" in text
    assert "visual tokens 2 2 4 frames of" in " ".join(text.split())
    assert "dropped: 5 files\n  Corrupt 4\n    real/w.mp4: no decoder\n" in text
    assert "    real/x\\n.mp4: " + "d" * 100 + "...\n" in text
    assert "    and 1 more, in drops.json\n  NotAVideo 1\n    a.txt: text" in text


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20)), min_size=1, max_size=40),
    name=st.text(max_size=300),
)
def test_any_dataset_has_a_text_of_printable_lines(new_row, sizes, name) -> None:
    rows = [
        new_row(f"{name}{i}", generator=name, width=28 * w, height=28 * h)
        for i, (w, h) in enumerate(sizes)
    ]
    found: Overview = overview(rows, [Drop(name, DropReason.EMPTY, name)], 5)

    text = overview_text("file:///a", "0" * 64, found)

    assert all(line.isprintable() for line in text.split("\n"))
    assert sum(found.frame_sizes.values()) == len(rows)
    assert printable(name) in text


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\r", "\u202e", "\udc80", "\x00", "\u2028"])
def test_what_a_terminal_would_obey_is_written_out(hidden: str) -> None:
    assert printable(f"a{hidden}b").isascii()
    assert printable(f"a{hidden}b").encode("utf-8")
