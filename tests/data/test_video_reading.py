import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.reading import AvReader, DecordReader, decode_frames, frames_at, probe
from assay_data.video.standardise import find_ffmpeg

MakeClip = Callable[..., Path]


@pytest.mark.parametrize(
    "name, codec, pix_fmt",
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("hevc.mp4", "libx265", "yuv420p10le"),
        ("old.avi", "mpeg4", "yuv420p"),
        ("h264.avi", "libx264", "yuv420p"),
        ("with space\nand newline, ünïcode 影片.mkv", "libx264", "yuv420p"),
    ],
)
def test_the_frame_shown_at_each_time_is_returned(
    clip: MakeClip, tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt)

    frames = decode_frames(path, (0.0, 0.25, 0.3, 1.0, 1.9375, 99.0))

    assert frames.shape == (6, 64, 96, 3)
    levels = [16 + 5 * index for index in (0, 4, 4, 16, 31, 31)]
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx(levels, abs=2)


def test_both_readers_agree(clip: MakeClip, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    decord, pyav = DecordReader(path), AvReader(path)

    assert decord.duration_seconds == pyav.duration_seconds == 2.0
    assert np.allclose(decord.starts_seconds, pyav.starts_seconds, atol=1e-4)
    for ours, theirs in zip(decord.frames([0, 9, 9, 31]), pyav.frames([0, 9, 9, 31]), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_a_frame_is_shown_until_the_next_begins(clip: MakeClip, tmp_path: Path) -> None:
    reader = DecordReader(clip(tmp_path / "a.mp4", fps=10))

    assert frames_at(reader, (0.0, 0.09, 0.1, 0.15, 0.2)) == [0, 0, 1, 1, 2]


def test_a_video_says_what_it_is(clip: MakeClip, tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", codec="libx265", pix_fmt="yuv420p10le"))

    assert (info.width, info.height, info.fps, info.duration_seconds) == (96, 64, 16.0, 2.0)
    assert (info.codec, info.pixel_format) == ("hevc", "yuv420p10le")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    stored, turned = tmp_path / "stored.mp4", tmp_path / "turned.mov"
    picture = np.zeros((64, 96, 3), dtype=np.uint8)
    picture[:32, :48] = 250  # light in the upper left corner
    with av.open(str(stored), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    command = [find_ffmpeg(), "-v", "error", "-display_rotation", str(degrees), "-i", str(stored)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    upright = np.rot90(picture, degrees // 90)  # both count counter-clockwise

    info = probe(turned)
    assert (info.height, info.width) == upright.shape[:2]
    for reader in (DecordReader(turned), AvReader(turned)):
        (frame,) = reader.frames([3])
        assert frame.shape == upright.shape
        assert np.abs(frame.astype(int) - upright).mean() < 5


def test_sound_without_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono"
        )
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))

    with pytest.raises(UnusableVideo) as caught:
        probe(path)
    assert caught.value.reason is DropReason.NO_VIDEO_STREAM


def test_text_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("This is no video. " * 100)

    for read in (probe, lambda p: decode_frames(p, (0.0,))):
        with pytest.raises(UnusableVideo) as caught:
            read(path)
        assert caught.value.reason is DropReason.CORRUPT
