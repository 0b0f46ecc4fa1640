from collections.abc import Callable
from pathlib import Path

import av
import pytest

from assay_api import InvalidInput
from assay_data.drops import DropReason
from assay_data.standardise import Standard, standardise_folder
from assay_data.video import probe

SMALL = Standard(width_pixels=128, height_pixels=128)


def run(source: Path, target: Path) -> tuple[int, list[tuple[str, DropReason]]]:
    written, drops = standardise_folder(source, target, 2, lambda done, total: None, SMALL)
    return written, [(drop.source, drop.reason) for drop in drops]


def test_every_video_gets_the_same_format(clip: Callable[..., Path], tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    clip(source / "real/long one.avi", seconds=6.0, codec="mpeg4")
    clip(source / "fake/-x.mp4", seconds=2.0, size=(64, 96))
    (source / "fake" / "bad.mp4").write_text("no video")
    (source / "fake" / "notes.txt").write_text("left out")

    assert run(source, target) == (2, [("fake/bad.mp4", DropReason.CORRUPT)])

    info = probe(target / "real/long one.avi.mp4")
    assert (info.width, info.height, info.fps) == (128, 128, 24.0)
    assert (info.codec, info.pixel_format) == ("hevc", "yuv420p10le")
    assert info.duration_seconds == pytest.approx(5.0, abs=0.05)
    with av.open(str(target / "fake/-x.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    made = (target / "fake/-x.mp4").stat().st_mtime_ns
    run(source, target)
    assert (target / "fake/-x.mp4").stat().st_mtime_ns == made
    assert not list(target.rglob(".assay-*"))


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InvalidInput, match="has no videos"):
        (tmp_path / "empty").mkdir()
        run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InvalidInput, match="lies in the source"):
        run(tmp_path, tmp_path / "out")
