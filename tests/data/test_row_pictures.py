"""Pictures of rows are read as those of folders are, and a video may be a list of frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_rows import TRAIN, ingest, opened, reasons, write_lines
from numpy.typing import NDArray
from PIL import Image

from assay_api import Dataset
from assay_data.dataset import ClipDataset
from assay_data.ingest import IngestReport, build_dataset
from assay_data.store import FolderStore

SIDE = 56


def grey(shade: int) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE, 3), shade, dtype=np.uint8))


def write_gray16(path: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 128 * 257, dtype=np.uint16)).save(path)


def write_clear(path: Path) -> None:
    Image.new("RGBA", (SIDE, SIDE), (255, 200, 0, 0)).save(path)


def write_animation(path: Path) -> None:
    first, *others = [grey(20 * number) for number in range(8)]
    first.save(path, save_all=True, append_images=others, duration=250, loop=0)


def write_floats(path: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 0.5, dtype=np.float32)).save(path)


def ingest_row(tmp_path: Path, mark: str, media: list[object]) -> IngestReport:
    """Ingest one row that shows files of the folder `media`, and a text row beside it."""
    column = {"<image>": "images", "<video>": "videos"}[mark]
    row = {"problem": f"{mark * len(media)}What?", "answer": "x", column: media}
    source = write_lines(tmp_path / "a.jsonl", [row, {"problem": "Why?", "answer": "y"}])
    rows = {"media": [str(tmp_path / "media")]}
    frames = {"count": 8, "codec": "Png"}
    return ingest(source, tmp_path / "out", rows=rows, frames=frames, split=TRAIN)


def frames_of(dataset: ClipDataset) -> NDArray[np.uint8]:
    (found,) = (row for row in dataset.rows() if row.width)
    return dataset.frames(found.row_id)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


@pytest.mark.parametrize(
    ("name", "write", "shade"),
    [
        ("a.png", write_gray16, 128),
        ("a.tif", write_gray16, 128),
        ("a.png", write_clear, 0),
        ("a.webp", write_clear, 0),
    ],
)
def test_a_picture_of_a_row_is_that_of_a_folder(
    tmp_path: Path,
    media: Path,
    four_videos: Path,
    dataset: Callable[..., Dataset],
    name: str,
    write: Callable[[Path], None],
    shade: int,
) -> None:
    write(media / name)
    ingest_row(tmp_path, "<image>", [name])
    write(four_videos / "real" / f"still{Path(name).suffix}")
    build_dataset(
        dataset(four_videos, frames={"codec": "Png"}),
        FolderStore(tmp_path / "folders"),
        1,
        lambda *_: None,
    )

    found = frames_of(opened(tmp_path / "out"))
    folders = opened(tmp_path / "folders")
    (still,) = (row for row in folders.rows() if "still" in row.source)
    in_folder = folders.frames(still.row_id)

    assert found.shape == (1, SIDE, SIDE, 3) and (found == shade).all()
    assert (in_folder == shade).all()


def test_an_animation_where_a_video_is_meant_is_one(tmp_path: Path, media: Path) -> None:
    write_animation(media / "a.gif")

    ingest_row(tmp_path, "<video>", ["a.gif"])

    frames = frames_of(opened(tmp_path / "out"))
    assert [int(frame.mean()) for frame in frames] == [20 * number for number in range(8)]


@pytest.mark.parametrize(("mark", "name"), [("<image>", "a.gif"), ("<video>", "a.webp")])
def test_an_animation_is_no_still(tmp_path: Path, media: Path, mark: str, name: str) -> None:
    write_animation(media / name)

    report = ingest_row(tmp_path, mark, [name])

    assert reasons(report) == [("a.jsonl:1", "Unsupported")]
    assert "it is an animation" in report.drops[0].detail


def test_a_picture_where_a_video_is_meant_is_shown_twice(tmp_path: Path, media: Path) -> None:
    grey(70).save(media / "a.png")

    ingest_row(tmp_path, "<video>", ["a.png"])

    assert frames_of(opened(tmp_path / "out")).shape[0] == 2
    (row,) = (row for row in opened(tmp_path / "out").rows() if row.width)
    assert row.problem == "<image><image>What?" and row.timestamps_seconds == (0.0, 0.0)


@pytest.mark.parametrize("count", [8, 7])
def test_a_list_of_frames_is_shown_whole_and_in_pairs(
    tmp_path: Path, media: Path, count: int
) -> None:
    for number in range(count):
        grey(20 * number).save(media / f"f{number}.png")

    ingest_row(tmp_path, "<video>", [[f"f{number}.png" for number in range(count)]])

    dataset = opened(tmp_path / "out")
    shades = [int(frame.mean()) for frame in frames_of(dataset)]
    assert shades == [20 * min(number, count - 1) for number in range(8)]
    (row,) = (row for row in dataset.rows() if row.width)
    assert row.problem == "<image>" * 8 + "What?"
    assert (row.end_seconds, row.timestamps_seconds[:2]) == (count / 4, (0.0, 0.25))
    assert row.timestamps_seconds[-1] == (count - 1) / 4


def test_pixels_without_a_white_are_refused(tmp_path: Path, media: Path) -> None:
    write_floats(media / "a.tif")

    report = ingest_row(tmp_path, "<image>", ["a.tif"])

    assert reasons(report) == [("a.jsonl:1", "Unsupported")]
    assert "a.tif: its pixels are 32-bit numbers" in report.drops[0].detail
