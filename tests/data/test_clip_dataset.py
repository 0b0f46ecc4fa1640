import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_clips import clip_row
from PIL import Image

from assay_api import InvalidInput, Split, StoreError
from assay_data.dataset import ClipDataset, decode_image
from assay_data.dataset.shards import ClipRow, read_clips, read_images, read_rows, write_shard
from assay_data.lessons import Example
from assay_data.store import FolderStore
from assay_data.video.prepare import encode_jpeg

EXAMPLE = Example("Judge", "a <b>", "0.3")


def row(name: str, **changes: object) -> ClipRow:
    return clip_row(name, **({"examples": (EXAMPLE,)} | changes))


@pytest.fixture
def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (4, 28, 56, 3), dtype=np.uint8)
    return [encode_jpeg(picture, 56, 28) for picture in noise]


@pytest.fixture
def store(tmp_path: Path, pictures: list[bytes]) -> FolderStore:
    tree = tmp_path / "tree"
    first = [(row("a"), tuple(pictures[:2])), (row("b", split="Test"), tuple(pictures[2:]))]
    write_shard(tree / "shards/0.parquet", first)
    write_shard(tree / "shards/1.parquet", [(row("c", examples=()), tuple(pictures[1:3]))])
    (tree / "dataset.json").write_text('{"shards": ["shards/0.parquet", "shards/1.parquet"]}')
    store = FolderStore(tmp_path / "store")
    store.publish(tree, "")
    return store


def test_a_shard_gives_back_what_was_written(tmp_path: Path, pictures: list[bytes]) -> None:
    clips = [(row("a"), tuple(pictures[:2])), (row("b", examples=()), tuple(pictures[2:]))]
    path = tmp_path / "shard.parquet"

    assert write_shard(path, clips) == 2

    assert list(read_clips(path)) == clips
    assert read_rows(path) == [clip for clip, _ in clips]
    assert read_images(path, 1) == tuple(pictures[2:])


def test_a_shard_is_plain_parquet(tmp_path: Path, pictures: list[bytes]) -> None:
    write_shard(tmp_path / "shard.parquet", [(row("a"), tuple(pictures[:2]))])

    (values,) = pq.read_table(tmp_path / "shard.parquet").to_pylist()

    assert values["images"] == [{"bytes": picture, "path": None} for picture in pictures[:2]]
    assert values["examples"] == [{"task": "Judge", "prompt": "a <b>", "response": "0.3"}]
    assert values["timestamps_seconds"] == [0.0, 0.25]


def test_frames_of_a_row_are_its_pictures(store: FolderStore, pictures: list[bytes]) -> None:
    dataset = ClipDataset.open(store)

    frames = dataset.frames("b-0")

    assert frames.shape == (2, 28, 56, 3)
    assert np.array_equal(frames[1], np.asarray(Image.open(io.BytesIO(pictures[3]))))
    assert np.array_equal(frames, ClipDataset.open(store).frames("b-0"))


def test_rows_have_an_order_and_parts(store: FolderStore) -> None:
    dataset = ClipDataset.open(store)

    assert [r.video_id for r in dataset.rows()] == ["a", "b", "c"]
    assert [r.video_id for r in dataset.rows(Split.TRAIN)] == ["a", "c"]
    assert dataset.digest == store.digest("")


def test_an_unknown_row_is_named(store: FolderStore) -> None:
    with pytest.raises(InvalidInput, match="has no row 'z-0'"):
        ClipDataset.open(store).frames("z-0")


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds nothing finished"):
        ClipDataset.open(FolderStore(tmp_path))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "dataset.json").write_text("{}")
    store = FolderStore(tmp_path / "store")
    store.publish(tmp_path / "tree", "")
    with pytest.raises(StoreError, match="is no dataset"):
        ClipDataset.open(store)


def test_compression_keeps_colours() -> None:
    picture = np.zeros((56, 56, 3), dtype=np.uint8)
    picture[:, ::2] = (220, 50, 40)
    picture[:, 1::2] = (50, 80, 230)

    error = np.abs(decode_image(encode_jpeg(picture, 56, 56)).astype(int) - picture)

    assert error.max() <= 12
