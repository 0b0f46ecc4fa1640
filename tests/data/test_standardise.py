import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from assay_api import InvalidInput
from assay_data.drops import DropReason
from assay_data.video.reading import probe
from assay_data.video.standard import Standard
from assay_data.video.standardise import standardise_folder

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

    assert run(source, target) == (
        2,
        [("fake/bad.mp4", DropReason.CORRUPT), ("fake/notes.txt", DropReason.NOT_A_VIDEO)],
    )

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


def test_what_cannot_be_standardised_is_dropped_with_its_reason(
    clip: Callable[..., Path], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    good = clip(source / "good.mkv", codec="mpeg4", size=(320, 240), seconds=4.0)
    (source / "cut.mkv").write_bytes(good.read_bytes()[: good.stat().st_size // 3])
    (source / "empty.mp4").touch()
    (source / "nowhere.mp4").symlink_to("does-not-exist.mp4")
    with av.open(str(good)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    damaged = bytearray(good.read_bytes())
    for place, size in packets[5:25]:
        damaged[place + 12 : place + size] = bytes(size - 12)
    (source / "damaged.mkv").write_bytes(damaged)
    with av.open(str(source / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 8000), dtype=np.float32)
        samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))

    assert run(source, tmp_path / "out") == (
        1,
        [
            ("cut.mkv", DropReason.TRUNCATED),
            ("damaged.mkv", DropReason.CORRUPT),
            ("empty.mp4", DropReason.EMPTY),
            ("nowhere.mp4", DropReason.UNREADABLE),
            ("sound.mp4", DropReason.NO_VIDEO_STREAM),
        ],
    )
    assert [p.name for p in (tmp_path / "out").rglob("*.mp4")] == ["good.mkv.mp4"]


def test_a_video_that_takes_too_long_is_dropped(clip: Callable[..., Path], tmp_path: Path) -> None:
    clip(tmp_path / "in/a.mp4")
    impatient = Standard(timeout_seconds=0.01)

    with pytest.raises(InvalidInput, match=r"none of the 1 videos .*: Timeout 1; .*0\.01 seconds"):
        standardise_folder(tmp_path / "in", tmp_path / "out", 1, lambda *_: None, impatient)
    assert not list((tmp_path / "out").rglob("*tmp*"))


def test_two_videos_for_one_place_are_refused(clip: Callable[..., Path], tmp_path: Path) -> None:
    clip(tmp_path / "in/a.avi", codec="mpeg4")
    clip(tmp_path / "in/a.avi.mp4")

    with pytest.raises(InvalidInput, match=r"would both become .*a\.avi\.mp4: rename one"):
        run(tmp_path / "in", tmp_path / "out")


def test_a_target_of_another_standard_is_refused(clip: Callable[..., Path], tmp_path: Path) -> None:
    clip(tmp_path / "in/a.mp4")
    run(tmp_path / "in", tmp_path / "out")

    with pytest.raises(InvalidInput, match=r"another standard.*choose another folder"):
        standardise_folder(
            tmp_path / "in", tmp_path / "out", 1, lambda *_: None, Standard(fps=12.0)
        )


@pytest.mark.parametrize(
    "values, message",
    [
        ({"width_pixels": 101}, "width_pixels 101: must be even"),
        ({"height_pixels": 0}, "height_pixels 0: must be even, from 32"),
        ({"seconds": 0.0}, "seconds 0.0: must be above 0"),
        ({"fps": float("nan")}, "fps nan: must be above 0"),
    ],
)
def test_a_standard_out_of_range_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Standard(**values)  # type: ignore[arg-type]


def test_a_killed_run_goes_on_and_leaves_nothing_half_done(
    clip: Callable[..., Path], tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for number in range(6):
        clip(source / f"{number}.mp4", shade=7 * number)
    program = (
        "import sys; from pathlib import Path;"
        "from assay_data.video.standard import Standard;"
        "from assay_data.video.standardise import standardise_folder;"
        "standardise_folder(Path(sys.argv[1]), Path(sys.argv[2]), 1, lambda *_: None,"
        "Standard(width_pixels=512, height_pixels=512))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(source), str(target)])
    while len(list(target.glob("[0-9].mp4"))) < 2:
        time.sleep(0.01)
        assert process.poll() is None
    started = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    made = {path: path.stat().st_mtime_ns for path in target.glob("[0-9].mp4")}
    assert 2 <= len(made) < 6
    standard = Standard(width_pixels=512, height_pixels=512)
    assert standardise_folder(source, target, 1, lambda *_: None, standard) == (6, ())
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert [probe(path).width for path in sorted(target.glob("*.mp4"))] == [512] * 6
    assert not list(target.rglob(".assay-tmp*"))
