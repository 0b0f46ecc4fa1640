"""What `datasets`, EasyR1 and verl find in the shards."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay_api import Dataset
from assay_api.stage import BUSTERX_QUESTION
from assay_data.dataset import ClipDataset
from assay_data.dataset.rows import ClipRow, place_marks
from assay_data.dataset.shards import MAX_ROW_GROUPS, read_images, write_shards
from assay_data.ingest import build_dataset
from assay_data.store import FolderStore

MakeDataset = Callable[..., Dataset]


def build(dataset: Dataset, out: Path) -> ClipDataset:
    build_dataset(dataset, FolderStore(out), 1, lambda done, total: None)
    return ClipDataset.open(FolderStore(out))


def load(out: Path, cache: Path) -> Any:
    files = sorted(str(path) for path in (out / "shards").iterdir())
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))


@pytest.fixture
def videos(four_videos: Path, dataset: MakeDataset, tmp_path: Path) -> ClipDataset:
    return build(dataset(four_videos), tmp_path / "out")


def test_datasets_decodes_the_pictures(videos: ClipDataset, tmp_path: Path) -> None:
    loaded = load(tmp_path / "out", tmp_path / "cache")

    assert [row["row_id"] for row in loaded] == [row.row_id for row in videos.rows()]
    for row in loaded:
        pictures = np.stack([np.asarray(image) for image in row["images"]])
        assert (pictures == videos.frames(row["row_id"])).all()


def test_easyr1_finds_as_many_marks_as_images(videos: ClipDataset, tmp_path: Path) -> None:
    (real,) = [
        row for row in load(tmp_path / "out", tmp_path / "cache") if row["video_id"] == "real-a"
    ]

    assert real["problem"] == "<image>" * 8 + BUSTERX_QUESTION
    assert real["answer"] == "A"
    assert len(real["images"]) == 8


def test_verl_finds_its_columns(videos: ClipDataset, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "out" / "shards").to_pylist()

    for index, row in enumerate(table):
        assert row["data_source"] == row["ability"] == "detection"
        assert row["prompt"] == [{"role": "user", "content": row["problem"]}]
        letter = {"real": "A", "fake": "B"}[row["label"]]
        assert row["reward_model"] == {"style": "rule", "ground_truth": letter}
        assert row["extra_info"]["index"] == index
        assert row["extra_info"]["split"] == row["split"].lower()
        assert row["extra_info"]["label"] == row["label"]
        assert all(Image.open(io.BytesIO(image["bytes"])).size for image in row["images"])


@pytest.mark.parametrize(("codec", "kind"), [("Jpeg", "JPEG"), ("Png", "PNG"), ("WebP", "WEBP")])
def test_frames_are_stored_as_the_plan_says(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path, codec: str, kind: str
) -> None:
    made = build(dataset(four_videos, frames={"codec": codec}), tmp_path / codec)
    plain = build(dataset(four_videos, frames={"codec": "Png"}), tmp_path / "plain")

    (path,) = (tmp_path / codec / "shards").iterdir()
    assert Image.open(io.BytesIO(read_images(path, 0)[0])).format == kind
    for row in made.rows():
        same = (made.frames(row.row_id) == plain.frames(row.row_id)).all()
        assert same or codec == "Jpeg"


def text_row(index: int, **changes: Any) -> ClipRow:
    values: dict[str, Any] = {
        "row_id": f"r{index}",
        "video_id": f"v{index}",
        "label": "",
        "generator": "",
        "split": "Train",
        "source": f"a:{index}",
        "source_sha256": "0" * 64,
        "start_seconds": 0.0,
        "end_seconds": 0.0,
        "sampled_fps": 0.0,
        "timestamps_seconds": (),
        "width": 0,
        "height": 0,
        "examples": (),
    }
    return ClipRow(**(values | changes))


def test_shards_are_bounded_and_rows_are_read_alone(tmp_path: Path) -> None:
    clips = [(text_row(i), (bytes([i % 256]) * 1000,)) for i in range(MAX_ROW_GROUPS + 5)]

    names = write_shards(tmp_path / "many", clips)
    small = write_shards(tmp_path / "small", clips[:7], target_bytes=2500)

    groups = [pq.ParquetFile(tmp_path / "many" / name).num_row_groups for name in names]
    assert groups == [MAX_ROW_GROUPS, 5]
    sizes = [pq.read_metadata(tmp_path / "small" / name).num_rows for name in small]
    assert sizes == [3, 3, 1]
    assert read_images(tmp_path / "many" / names[1], 4) == clips[-1][1]
    index = pq.read_table(tmp_path / "many" / names[1])["extra_info"].to_pylist()[0]["index"]
    assert index == MAX_ROW_GROUPS


def test_rows_without_frames_share_row_groups(tmp_path: Path) -> None:
    clips = [(text_row(i), ()) for i in range(2000)]
    clips[1500] = (text_row(1500), (b"picture",))

    (name,) = write_shards(tmp_path, clips)

    file = pq.ParquetFile(tmp_path / name)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [1024, 476, 1, 499]
    assert read_images(tmp_path / name, 1500) == (b"picture",)
    assert read_images(tmp_path / name, 1999) == ()


PIECES = st.sampled_from(["<image>", "<video>", "<im", "age>", "<vid", "eo>", "a", " "])


@given(st.lists(st.lists(PIECES).map("".join), min_size=1, max_size=3), st.integers(1, 20))
def test_marks_are_as_many_as_frames(texts: list[str], num_images: int) -> None:
    placed = place_marks(texts, num_images)

    assert len(placed) == len(texts)
    assert sum(text.count("<image>") for text in placed) == num_images
    assert not any("<video>" in text for text in placed)
