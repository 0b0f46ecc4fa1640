"""Media of rows: looked up, unpacked, and made into frames."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_rows import ASKED, TRAIN, ingest, news, opened, reasons, write_lines
from PIL import Image

A, B = "0a" * 16, "0b" * 16


def frames_of(md5: str, answer: str) -> dict[str, Any]:
    question = {"role": "user", "content": "<image>" * 3 + f" The news title is 'x', {ASKED}"}
    reply = {"role": "assistant", "content": f"<answer>{answer}</answer>"}
    images = [f"./{md5}/{md5}_frame_{i}.png" for i in range(3)]
    return {"messages": [question, reply], "images": images}


def picture(shade: int, size: tuple[int, int] = (56, 84)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), shade, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def frame_files() -> dict[str, bytes]:
    files = {f"{A}/{A}_frame_{i}.png": picture(40 * i) for i in range(3)}
    return files | {f"{B}/{B}_frame_{i}.png": picture(40 * i + 9) for i in range(2)}


@pytest.mark.parametrize("kind", ["folder", "zip", "7z"])
def test_media_become_frames(tmp_path: Path, frame_files: dict[str, bytes], kind: str) -> None:
    source = write_lines(tmp_path / "a.jsonl", [frames_of(A, "Yes."), frames_of(B, "No.")])
    media = tmp_path / f"media.{kind}"
    if kind == "folder":
        for name, data in frame_files.items():
            (media / "deeper" / name).parent.mkdir(parents=True, exist_ok=True)
            (media / "deeper" / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(media, "w") as archive:
            for name, data in frame_files.items():
                archive.writestr(name, data)
    else:
        with py7zr.SevenZipFile(media, "w") as seven:
            for name, data in frame_files.items():
                seven.writestr(data, name)

    report = ingest(source, tmp_path / "out", rows={"media": [str(media)]}, split=TRAIN)

    assert reasons(report) == [("a.jsonl:2", "MissingMedia")]
    assert f"{B}_frame_2.png' is in none of" in report.drops[0].detail
    dataset = opened(tmp_path / "out")
    (row,) = dataset.rows()
    frames = dataset.frames(row.row_id)
    assert frames.shape == (3, 84, 56, 3)
    assert [int(frame.mean()) for frame in frames] == [0, 40, 80]
    assert row.problem.count("<image>") == 3 and row.prompt[0].content == row.problem
    assert (row.timestamps_seconds, row.sampled_fps) == ((0.0, 0.25, 0.5), 4.0)


def test_a_url_finds_the_video_of_its_name(tmp_path: Path, clip: Callable[..., Path]) -> None:
    source = write_lines(tmp_path / "a.jsonl", [news("dog_1", "Yes"), news("dog_2", "No")])
    clip(tmp_path / "videos" / "dog_1.mp4", size=(84, 56))
    (tmp_path / "videos" / "dog_2.mp4").write_text("no video")

    report = ingest(
        source, tmp_path / "out", rows={"media": [str(tmp_path / "videos")]}, split=TRAIN
    )

    assert reasons(report) == [("a.jsonl:2", "Corrupt")]
    (row,) = opened(tmp_path / "out").rows()
    assert opened(tmp_path / "out").frames(row.row_id).shape == (4, 56, 84, 3)
    assert row.problem.startswith("<image>" * 4 + "\nQuestion") and row.end_seconds == 2.0


def test_two_paths_never_share_a_file(tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "1.png").write_bytes(picture(1))
    (tmp_path / "fake" / "2.png").write_bytes(picture(2))
    (tmp_path / "fake" / "3.png").symlink_to("nowhere.png")
    references = ["real/1.png", "fake/1.png", "./fake/2.png", "/x/fake/2.png", "3.png"]
    rows = [{"problem": f"<image>{r}?", "answer": "x", "images": [r]} for r in references]
    source = write_lines(tmp_path / "a.jsonl", rows)

    report = ingest(source, tmp_path / "out", rows={"media": [str(tmp_path / "fake")]}, split=TRAIN)

    assert reasons(report) == [
        ("a.jsonl:1", "MissingMedia"),
        ("a.jsonl:2", "MissingMedia"),
        ("a.jsonl:5", "Unreadable"),
    ]
    assert "'real/1.png' and 'fake/1.png' would be 1.png" in report.drops[0].detail


def test_a_video_is_not_taken_for_a_picture(tmp_path: Path, clip: Callable[..., Path]) -> None:
    clip(tmp_path / "media" / "a.mpg", codec="mpeg1video", fps=25, size=(84, 56))
    row = {"problem": "<video>What?", "answer": "x", "videos": ["a.mpg"]}
    source = write_lines(tmp_path / "a.jsonl", [row])

    ingest(source, tmp_path / "out", rows={"media": [str(tmp_path / "media")]}, split=TRAIN)

    (found,) = opened(tmp_path / "out").rows()
    assert found.problem == "<image>" * 4 + "What?"


@pytest.mark.parametrize("reference", ["../secret.png", "real/1.png", "other/2.png", "3.png"])
def test_a_reference_leads_to_its_own_file_or_to_none(tmp_path: Path, reference: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    for name in ("fake/1.png", "fake/2.png", "a/3.png", "b/3.png"):
        (tmp_path / "media" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "media" / name).write_bytes(picture(2))
    row = {"problem": "<image>?", "answer": "x", "images": [reference]}
    good = {"problem": "<image>?", "answer": "y", "images": ["/data/of/others/fake/1.png"]}
    source = write_lines(tmp_path / "a.jsonl", [row, good])

    report = ingest(
        source, tmp_path / "out", rows={"media": [str(tmp_path / "media")]}, split=TRAIN
    )

    assert reasons(report) == [("a.jsonl:1", "MissingMedia")]


def test_a_video_under_two_names_stays_in_one_part(tmp_path: Path) -> None:
    for number in range(6):
        for name in ("one", "two"):
            (tmp_path / "media").mkdir(exist_ok=True)
            (tmp_path / "media" / f"{name}-{number}.png").write_bytes(picture(9 * number))
    rows = [
        {"problem": f"<image>{name}?", "answer": "x", "images": [f"{name}-{number}.png"]}
        for name in ("one", "two")
        for number in range(6)
    ]
    source = write_lines(tmp_path / "a.jsonl", rows)

    ingest(source, tmp_path / "out", rows={"media": [str(tmp_path / "media")]})

    parts = {(row.source_sha256, row.split) for row in opened(tmp_path / "out").rows()}
    assert len(parts) == 6


def test_pictures_in_the_rows_themselves_are_taken(tmp_path: Path) -> None:
    images = [
        {"bytes": picture(7), "path": "a.png"},
        {"bytes": picture(90, (84, 56)), "path": None},
    ]
    records = [
        {"problem": "<image>and <image>?", "answer": "x", "images": images},
        {"problem": "<image>?", "answer": "y", "images": [{"bytes": b"broken", "path": None}]},
    ]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")

    report = ingest(tmp_path / "a.parquet", tmp_path / "out", split=TRAIN, frames={"codec": "Png"})

    assert reasons(report) == [("a.parquet:2", "Corrupt")]
    dataset = opened(tmp_path / "out")
    (row,) = dataset.rows()
    first, second = dataset.frames(row.row_id)
    assert (first == 7).all()
    assert set(np.unique(second)) >= {0, 90}  # Another shape: fitted in, with black borders.
    assert row.problem == "<image>and <image>?"


@pytest.mark.parametrize("place", ["one", "one/data"])
def test_a_dataset_of_ours_is_a_source_of_rows(tmp_path: Path, place: str) -> None:
    images = [{"bytes": picture(7), "path": None}]
    question = "<image>Is this real or fake? Options: A) real B) fake"
    records = [
        {"problem": question, "answer": letter, "images": images, "split": split}
        for letter, split in (("A", "train"), ("A", "test"))
    ]
    records[1]["images"] = [{"bytes": picture(8), "path": None}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    rule = {"rule": "Source"}
    ingest(tmp_path / "a.parquet", tmp_path / "one", split=rule, frames={"codec": "WebP"})

    report = ingest(tmp_path / place, tmp_path / "two", split=rule, frames={"codec": "WebP"})

    assert report.drops == ()
    for one, two in zip(
        opened(tmp_path / "one").rows(), opened(tmp_path / "two").rows(), strict=True
    ):
        assert (one.problem, one.answer, one.label, one.split, one.video_id) == (
            two.problem,
            two.answer,
            two.label,
            two.split,
            two.video_id,
        )
        ours, theirs = (opened(tmp_path / n) for n in ("one", "two"))
        assert (ours.frames(one.row_id) == theirs.frames(two.row_id)).all()
