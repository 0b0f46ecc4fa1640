"""Files whose bytes differ and whose pictures do not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay_api import Dataset
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.ingest import IngestReport, build_dataset
from assay_data.ingest.kept import find_conflicts, same_videos
from assay_data.store import FolderStore


@pytest.fixture
def ingested(
    four_videos: Path, dataset: Callable[..., Dataset], tmp_path: Path
) -> Callable[..., IngestReport]:
    def ingest(**source: object) -> IngestReport:
        resource = dataset(four_videos, **source)
        return build_dataset(resource, FolderStore(tmp_path / "out"), 1, lambda *_: None)

    return ingest


def found(report: IngestReport) -> list[tuple[str, str, str]]:
    return [(drop.source, drop.reason, drop.detail) for drop in report.drops]


@pytest.mark.parametrize("clip_seconds", [None, 1.0])
def test_a_remuxed_copy_under_the_other_label_is_told(
    four_videos: Path,
    ffmpeg: Callable[..., None],
    ingested: Callable[..., IngestReport],
    clip: Callable[..., Path],
    clip_seconds: float | None,
) -> None:
    clip(four_videos / "real/e.mp4", shade=50)
    clip(four_videos / "fake/f.mp4", shade=60)
    ffmpeg("-i", four_videos / "real/a.mp4", "-c", "copy", four_videos / "fake/sora/z.mkv")
    ffmpeg("-i", four_videos / "real/b.mp4", "-c", "copy", four_videos / "real/copy.mov")

    report = ingested(clip_seconds=clip_seconds)

    detail = "same pictures, both labels: fake/sora/z.mkv, real/a.mp4"
    assert found(report) == [
        ("fake/sora/z.mkv", "ConflictingLabel", detail),
        ("real/a.mp4", "ConflictingLabel", detail),
        ("real/copy.mov", "Duplicate", "same pictures as real/b.mp4"),
    ]


def test_a_picture_saved_again_without_loss_is_the_same(
    four_videos: Path, ingested: Callable[..., IngestReport]
) -> None:
    picture = Image.effect_noise((64, 64), 40)
    picture.save(four_videos / "real/p.png")
    picture.save(four_videos / "fake/q.bmp")
    shutil.copy(four_videos / "fake/q.bmp", four_videos / "fake/r.bmp")

    report = ingested()

    detail = "same pictures, both labels: fake/q.bmp, fake/r.bmp, real/p.png"
    assert found(report) == [
        (name, "ConflictingLabel", detail) for name in ("fake/q.bmp", "fake/r.bmp", "real/p.png")
    ]


def test_pictures_of_the_same_size_that_differ_are_two_videos(
    four_videos: Path, ingested: Callable[..., IngestReport], tmp_path: Path
) -> None:
    for name, shade in (("real/p.bmp", 90), ("fake/q.bmp", 91)):
        Image.new("RGB", (64, 64), (shade,) * 3).save(four_videos / name)

    assert (
        found(
            ingested(),
        )
        == []
    )
    assert len(ClipDataset.open(FolderStore(tmp_path / "out")).rows()) == 6


def test_rows_that_name_copies_of_a_video_are_in_the_same_part(
    new_row: Callable[..., ClipRow],
) -> None:
    rows = [
        new_row(name, source_sha256=name * 64, label=label)
        for name, label in (("a", "real"), ("b", "fake"), ("c", "real"))
    ]
    contents = {"a" * 64: "a" * 64, "b" * 64: "a" * 64}

    same = same_videos(rows, contents)

    assert same["a"] == same["b"] != same["c"]
    assert [drop.source for drop in find_conflicts(rows, contents)] == ["real/a.mp4", "real/b.mp4"]
    assert find_conflicts(rows, {}) == []
