"""Whatever the file, the frame at a time is the one that is shown then: each shows its time."""

import random
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np
import pytest

from assay_data.drops import UnusableVideo
from assay_data.video.reading import AvReader, DecordReader, Frame, Reader, decode_frames, examine

MakeVideo = Callable[..., Path]
Shown = Callable[[Frame], int]

EVERY_40_MS = tuple(range(0, 3000, 40))
UNEVEN = (0, 17, 57, 90, 340, 373, 873, 890, 990, 1490, 1523, 1563, 2063, 2080, 2330, 2430, 2930)
SHORT_GROUPS = {"g": "12", "bf": "3"}
NO_OTHER_KEYS = {"sc_threshold": "0"}


def check(reader: Reader, shown: Shown, truth: list[int]) -> None:
    """Compare the times that frames show with those that the reader says, at random places."""
    first = truth[0]
    assert np.allclose(reader.starts_seconds, [(t - first) / 1000 for t in truth], atol=2e-3)
    for seed in range(6):
        drawn = random.Random(seed)
        indices = sorted(drawn.sample(range(len(truth)), min(len(truth), drawn.choice((2, 5, 11)))))
        assert [shown(f) for f in reader.frames(indices)] == [truth[i] for i in indices]


@pytest.mark.parametrize(
    "name, options, is_for_decord",
    [
        ("plain.mp4", {**SHORT_GROUPS}, True),
        ("plain.mov", {**SHORT_GROUPS}, True),
        ("plain.mkv", {**SHORT_GROUPS}, True),
        ("key-frames-only.mp4", {"g": "1"}, True),
        ("groups-of-2.mp4", {"g": "2", "bf": "3"}, True),
        ("groups-of-5.mkv", {"g": "5", "bf": "3"}, True),
        ("ten-bits.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}, True),
        (
            "closed.mp4",
            {"codec": "libx265", "x265-params": "open-gop=0:keyint=12:bframes=4"},
            True,
        ),
        ("vp9.webm", {"codec": "libvpx-vp9", "g": "30", "deadline": "realtime"}, True),
        ("vp8.webm", {"codec": "libvpx", "g": "30", "deadline": "realtime"}, True),
        ("lossless.mkv", {"codec": "ffv1"}, True),
        # decord counts frames from the key frame to which it seeks. Here others come out of it.
        ("open.mp4", {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}, False),
        ("open10.mp4", {"codec": "libx265", "x265-params": "open-gop=1:keyint=12"}, False),
        ("open.mkv", {"codec": "libx265", "x265-params": "open-gop=1:keyint=12"}, False),
        ("refresh.mp4", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}, False),
        ("refresh-b.mkv", {"x264-params": "intra-refresh=1:keyint=12:bframes=3"}, False),
        ("mpeg4.mp4", {"codec": "mpeg4", **SHORT_GROUPS, **NO_OTHER_KEYS}, False),
        # Containers in which it lands near the place only.
        ("near.ts", {**SHORT_GROUPS}, False),
        ("near.flv", {**SHORT_GROUPS}, False),
        ("near.wmv", {"codec": "wmv2", "g": "12"}, False),
        ("mpeg4.avi", {"codec": "mpeg4", "clock": 25, **SHORT_GROUPS}, False),
        ("h264.avi", {"clock": 25, **SHORT_GROUPS}, False),
        ("pictures.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "clock": 25}, False),
    ],
)
def test_every_frame_is_the_one_asked_for(
    timed_video: MakeVideo,
    shown: Shown,
    tmp_path: Path,
    name: str,
    options: dict[str, str],
    is_for_decord: bool,
) -> None:
    video = examine(timed_video(tmp_path / name, EVERY_40_MS, **options))

    assert video.is_for_decord is is_for_decord
    check(AvReader(video.path), shown, list(EVERY_40_MS))
    if is_for_decord:
        check(DecordReader(video.path), shown, list(EVERY_40_MS))
    else:
        with pytest.raises(decord.DECORDError):
            DecordReader(video.path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_times_that_are_uneven_are_kept(
    timed_video: MakeVideo, shown: Shown, tmp_path: Path, name: str
) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = timed_video(tmp_path / name, UNEVEN, codec=codec)
    asked = [0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5]

    frames = decode_frames(path, asked)

    expected = [max(t for t in UNEVEN if t <= 1000 * time) for time in asked]
    assert [shown(frame) for frame in frames] == expected
    for reader in (DecordReader(path), AvReader(path)):
        check(reader, shown, list(UNEVEN))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("offset", [5000, -480])
def test_time_starts_at_the_first_frame_that_is_shown(
    timed_video: MakeVideo, shown: Shown, tmp_path: Path, container: str, offset: int
) -> None:
    times = [time + offset for time in EVERY_40_MS]
    path = timed_video(tmp_path / f"a.{container}", times, **SHORT_GROUPS)
    # MP4 leaves out what begins before 0; Matroska moves it.
    first = max(0, offset) if container == "mp4" else offset

    (frame,) = decode_frames(path, [0.0])

    assert shown(frame) == first % 2**16


@pytest.mark.parametrize("start", ["0.3", "1.2"])
@pytest.mark.parametrize("options", [{}, {"x264-params": "open-gop=1:keyint=12:scenecut=0"}])
def test_what_an_edit_list_leaves_out_is_not_shown(
    timed_video: MakeVideo,
    shown: Shown,
    ffmpeg: Callable[..., None],
    tmp_path: Path,
    start: str,
    options: dict[str, str],
) -> None:
    whole = timed_video(tmp_path / "whole.mp4", **{**SHORT_GROUPS, **options})
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", start, "-i", whole, "-c", "copy", cut)

    assert not examine(cut).is_for_decord
    kept = [time for time in EVERY_40_MS if time >= 1000 * float(start)]
    check(AvReader(cut), shown, kept)


def test_a_stream_joined_in_the_middle_starts_at_a_key_frame(
    timed_video: MakeVideo, shown: Shown, tmp_path: Path
) -> None:
    whole = timed_video(tmp_path / "whole.ts", **SHORT_GROUPS, **NO_OTHER_KEYS).read_bytes()
    joined = tmp_path / "joined.ts"
    # Whole packets of 188 bytes are left out; the tables come again.
    joined.write_bytes(whole[188 * 60 :])

    reader = AvReader(joined)
    frames = list(reader.frames(range(len(reader.starts_seconds))))

    assert [shown(frame) for frame in frames] == list(EVERY_40_MS[-len(frames) :])
    assert len(frames) > 12


def test_hidden_frames_of_vp8_have_no_place(
    timed_video: MakeVideo, shown: Shown, tmp_path: Path
) -> None:
    whole = timed_video(tmp_path / "whole.webm", codec="libvpx", deadline="realtime")
    hiding = tmp_path / "hiding.webm"
    with av.open(str(whole)) as source, av.open(str(hiding), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        for number, packet in enumerate(packets):
            data = bytearray(bytes(packet))
            data[0] &= ~0x10 if number == 9 else 0xFF
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            target.mux(copy)

    assert not examine(hiding).is_for_decord
    check(AvReader(hiding), shown, [t for i, t in enumerate(EVERY_40_MS) if i != 9])


def test_frames_left_out_of_an_avi_leave_their_time(
    timed_video: MakeVideo, shown: Shown, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    whole = timed_video(tmp_path / "whole.avi", codec="mjpeg", pix_fmt="yuvj420p", clock=25)
    gaps = tmp_path / "gaps.avi"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "noise=drop='between(n,10,29)'", gaps)

    kept = [t for i, t in enumerate(EVERY_40_MS) if not 10 <= i <= 29]
    check(AvReader(gaps), shown, kept)


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_turned_videos_come_upright(
    timed_video: MakeVideo, ffmpeg: Callable[..., None], tmp_path: Path, name: str, degrees: int
) -> None:
    stored = timed_video(tmp_path / "stored.mp4")
    turned = tmp_path / name
    ffmpeg("-display_rotation", degrees, "-i", stored, "-c", "copy", turned)
    (plain,) = decode_frames(stored, [1.0])

    (upright,) = decode_frames(turned, [1.0])
    (by_pyav,) = AvReader(turned).frames([25])

    expected = np.rot90(plain, degrees // 90).astype(int)
    assert np.abs(upright - expected).mean() < 3
    assert np.abs(by_pyav - expected).mean() < 3


def test_a_lost_frame_is_not_replaced_by_another(timed_video: MakeVideo, tmp_path: Path) -> None:
    path = timed_video(tmp_path / "a.mp4", **SHORT_GROUPS)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    place, size = packets[40]
    data[place : place + size] = bytes(size)
    path.write_bytes(data)

    with pytest.raises((UnusableVideo, av.error.FFmpegError)):
        list(AvReader(path).frames(range(75)))
    with pytest.raises(UnusableVideo, match=r"frame 4\d cannot be decoded|PyAV failed"):
        decode_frames(path, [time / 1000 for time in EVERY_40_MS])


@pytest.mark.parametrize(
    "codec, pix_fmt, most",
    [("libx264", "yuv420p", 0), ("libx264", "yuv444p", 0), ("libx265", "yuv420p10le", 2.0)],
)
def test_both_readers_make_the_same_colours(
    ffmpeg: Callable[..., None], tmp_path: Path, codec: str, pix_fmt: str, most: float
) -> None:
    path = tmp_path / "a.mp4"
    soft = "gradients=s=98x66:r=8:d=1:c0=red:c1=blue:speed=0.02:seed=1"
    quiet = ("-x265-params", "log-level=none") if codec == "libx265" else ()
    ffmpeg("-f", "lavfi", "-i", soft, "-c:v", codec, *quiet, "-pix_fmt", pix_fmt, path)

    ours, theirs = (np.stack(list(r(path).frames([0, 5]))) for r in (DecordReader, AvReader))

    assert np.abs(ours.astype(int) - theirs).mean() <= most


def test_clips_of_a_video_are_decoded_in_one_pass(
    timed_video: MakeVideo, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = AvReader(timed_video(tmp_path / "a.avi", codec="mpeg4", clock=25))
    opened: list[str] = []
    really_open = av.open
    monkeypatch.setattr(av, "open", lambda path: opened.append(path) or really_open(path))

    shown_times = [[shown(f) for f in reader.frames([i, i + 2, i + 2])] for i in (0, 10, 50, 20)]

    assert shown_times == [[40 * i, 40 * i + 80, 40 * i + 80] for i in (0, 10, 50, 20)]
    assert len(opened) == 2  # Once forwards, once more to go back from 50 to 20.
