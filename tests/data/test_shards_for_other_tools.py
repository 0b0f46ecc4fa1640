"""What `datasets`, EasyR1 and verl find in the shards."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay_api import Dataset, Split
from assay_api.prompt import BUSTERX_QUESTION
from assay_data.dataset import ClipDataset
from assay_data.dataset.rows import ClipRow, place_marks
from assay_data.dataset.shards import MAX_ROW_GROUPS, read_images, write_shard, write_shards
from assay_data.ingest import build_dataset
from assay_data.store import FolderStore

MakeDataset = Callable[..., Dataset]


def build(dataset: Dataset, out: Path) -> ClipDataset:
    build_dataset(dataset, FolderStore(out), 1, lambda done, total: None)
    return ClipDataset.open(FolderStore(out))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def load(out: Path) -> list[dict[str, Any]]:
    return [row for split in datasets.load_dataset(str(out)).values() for row in split]


def easyr1(data_path: str) -> datasets.Dataset:
    """Load as EasyR1 does: `RLHFDataset.__init__` of its verl/utils/dataset.py, commit 8700709."""
    split = "train"
    if "@" in data_path:
        data_path, split = data_path.split("@")
    if os.path.isdir(data_path):
        kind = os.path.splitext(os.listdir(data_path)[0])[-1][1:].replace("jsonl", "json")
        return datasets.load_dataset(kind, data_dir=data_path, split=split)
    kind = os.path.splitext(data_path)[-1][1:].replace("jsonl", "json")
    return datasets.load_dataset(kind, data_files=data_path, split=split)


def earlier_easyr1(data_path: str) -> datasets.Dataset:
    """Load as it does at commit 0243608: a folder's split is always train."""
    return datasets.load_dataset("parquet", data_dir=data_path, split="train")


def verl(data_files: list[str]) -> datasets.Dataset:
    """Load as verl 0.9.1 does: `RLHFDataset._read_files_and_tokenize`."""
    return datasets.concatenate_datasets(
        [datasets.load_dataset("parquet", data_files=file)["train"] for file in data_files]
    )


@pytest.fixture
def videos(four_videos: Path, dataset: MakeDataset, tmp_path: Path) -> ClipDataset:
    return build(dataset(four_videos), tmp_path / "out")


def test_datasets_decodes_the_pictures(videos: ClipDataset, tmp_path: Path) -> None:
    loaded = load(tmp_path / "out")

    assert [row["row_id"] for row in loaded] == [row.row_id for row in videos.rows()]
    for row in loaded:
        pictures = np.stack([np.asarray(image) for image in row["images"]])
        assert (pictures == videos.frames(row["row_id"])).all()


def test_easyr1_finds_as_many_marks_as_images(videos: ClipDataset, tmp_path: Path) -> None:
    (real,) = [row for row in load(tmp_path / "out") if row["video_id"] == "real-a"]

    assert real["problem"] == "<image>" * 8 + BUSTERX_QUESTION
    assert real["answer"] == "A"
    assert len(real["images"]) == 8


def test_verl_finds_its_columns(videos: ClipDataset, tmp_path: Path) -> None:
    shards = sorted((tmp_path / "out/data").iterdir(), key=lambda path: "test" in path.name)
    table = [row for shard in shards for row in pq.read_table(shard).to_pylist()]

    for index, row in enumerate(table):
        assert row["data_source"] == row["ability"] == "detection"
        assert row["prompt"] == [{"role": "user", "content": row["problem"]}]
        letter = {"real": "A", "fake": "B"}[row["label"]]
        assert row["reward_model"] == {"style": "rule", "ground_truth": letter}
        assert row["extra_info"]["index"] == index
        assert row["extra_info"]["split"] == row["split"].lower()
        assert row["extra_info"]["label"] == row["label"]
        assert all(Image.open(io.BytesIO(image["bytes"])).size for image in row["images"])


def many_rows(folder: Path, count: int, split: dict[str, object]) -> Dataset:
    """A dataset of text rows in the format of EasyR1."""
    rows = [{"problem": f"{i} + {i}?", "answer": str(2 * i), "images": []} for i in range(count)]
    folder.mkdir()
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"rows": {"uri": str(folder / "rows.jsonl"), "format": "EasyR1"}}
    spec = {"source": source, "split": split}
    return Dataset.model_validate({"metadata": {"name": "sums"}, "spec": spec})


@pytest.mark.parametrize(("count", "num_test"), [(2, 1), (5000, 1000)])
def test_a_folder_is_loaded_with_its_splits(tmp_path: Path, count: int, num_test: int) -> None:
    made = build(many_rows(tmp_path / "source", count, {"testFraction": 0.2}), tmp_path / "out")

    loaded = datasets.load_dataset(str(tmp_path / "out"))

    assert {name: len(rows) for name, rows in loaded.items()} == {
        "train": count - num_test,
        "test": num_test,
    }
    for split in Split:
        ids = [row.row_id for row in made.rows(split)]
        assert loaded[split.lower()]["row_id"][:] == ids
        assert set(loaded[split.lower()]["split"]) == {split.value}
    index = [info["index"] for rows in loaded.values() for info in rows["extra_info"]]
    assert index == list(range(count))


def test_a_split_without_rows_has_no_file(tmp_path: Path) -> None:
    build(many_rows(tmp_path / "source", 3, {"rule": "Train"}), tmp_path / "out")

    loaded = datasets.load_dataset(str(tmp_path / "out"))

    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 3}
    assert "The split test is empty" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(ValueError, match="test"):
        datasets.load_dataset(str(tmp_path / "out"), split="test")


def test_other_trainers_have_no_test_row_in_their_training_split(
    videos: ClipDataset, tmp_path: Path
) -> None:
    data = tmp_path / "out/data"
    train, test = sorted(data.glob("train-*")), sorted(data.glob("test-*"))
    expected = {split: {row.row_id for row in videos.rows(split)} for split in Split}

    loaded = {
        Split.TRAIN: [
            easyr1(str(data)),
            easyr1(f"{data}@train"),
            earlier_easyr1(str(data)),
            earlier_easyr1(str(tmp_path / "out")),
            verl(list(map(str, train))),
        ],
        Split.TEST: [easyr1(f"{data}@test"), easyr1(str(test[0])), verl(list(map(str, test)))],
    }

    assert all(len(rows) == 2 for rows in expected.values())
    for split, found in loaded.items():
        assert [set(rows["row_id"]) for rows in found] == [expected[split]] * len(found)


def test_the_card_tells_what_is_in_the_dataset(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path
) -> None:
    (four_videos / "real/bad`|<b>.mp4").touch()

    build(dataset(four_videos), tmp_path / "out")

    card = (tmp_path / "out/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head == {
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "data/train-*.parquet"},
                    {"split": "test", "path": "data/test-*.parquet"},
                ],
            }
        ]
    }
    assert "# 4 rows of 4 videos" in card
    assert "| train | fake | sora | 1 | 1 | 2 |" in card
    assert "| test | real | real | 1 | 1 | 2 |" in card
    assert str(four_videos) in card
    assert "| Empty | 1 | `real/bad \\|<b>.mp4`: " in card


def test_an_older_dataset_with_mixed_shards_opens(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    rows = [text_row(i, split="Test" if i % 3 else "Train") for i in range(6)]
    for place in range(2):
        part = [(row, ()) for row in rows[3 * place : 3 * place + 3]]
        write_shard(tree / f"shards/part-0000{place}.parquet", part)
    names = [f"shards/part-0000{place}.parquet" for place in range(2)]
    (tree / "dataset.json").write_text(json.dumps({"shards": names}))
    FolderStore(tmp_path / "out").publish(tree, "")

    opened = ClipDataset.open(FolderStore(tmp_path / "out"))

    assert opened.rows() == tuple(rows)
    assert [row.row_id for row in opened.rows(Split.TRAIN)] == ["r0", "r3"]


@pytest.mark.parametrize(("codec", "kind"), [("Jpeg", "JPEG"), ("Png", "PNG"), ("WebP", "WEBP")])
def test_frames_are_stored_as_the_plan_says(
    four_videos: Path, dataset: MakeDataset, tmp_path: Path, codec: str, kind: str
) -> None:
    made = build(dataset(four_videos, frames={"codec": codec}), tmp_path / codec)
    plain = build(dataset(four_videos, frames={"codec": "Png"}), tmp_path / "plain")

    path = tmp_path / codec / "data/train-00000-of-00001.parquet"
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

    names = write_shards(tmp_path / "many", Split.TRAIN, clips)
    small = write_shards(
        tmp_path / "small", Split.TEST, clips[:7], first_index=9, target_bytes=2500
    )

    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert small == [f"test-0000{place}-of-00003.parquet" for place in range(3)]
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == small
    assert write_shards(tmp_path / "none", Split.TEST, []) == []

    groups = [pq.ParquetFile(tmp_path / "many" / name).num_row_groups for name in names]
    assert groups == [MAX_ROW_GROUPS, 5]
    sizes = [pq.read_metadata(tmp_path / "small" / name).num_rows for name in small]
    assert sizes == [3, 3, 1]
    assert read_images(tmp_path / "many" / names[1], 4) == clips[-1][1]
    index = pq.read_table(tmp_path / "many" / names[1])["extra_info"].to_pylist()[0]["index"]
    assert index == MAX_ROW_GROUPS
    index = pq.read_table(tmp_path / "small" / small[1])["extra_info"].to_pylist()[0]["index"]
    assert index == 9 + 3


def test_rows_without_frames_share_row_groups(tmp_path: Path) -> None:
    clips = [(text_row(i), ()) for i in range(2000)]
    clips[1500] = (text_row(1500), (b"picture",))

    (name,) = write_shards(tmp_path, Split.TRAIN, clips)

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
