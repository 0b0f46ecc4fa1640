"""Of several tracks of pictures one is the video, and all frames and times are that one's."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.reading import AvReader, DecordReader, Frame, decode_frames, examine

MakeVideo = Callable[..., Path]
Shown = Callable[[Frame], int]
Ffmpeg = Callable[..., None]

SLOW = tuple(range(10_000, 14_000, 80))
FAST = tuple(range(0, 4000, 40))
ASKED = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)


@pytest.fixture(scope="module")
def tracks(timed_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos of one track each: 25 frames per second, and a larger picture of 12.5."""
    folder = tmp_path_factory.mktemp("tracks")
    vp8 = {"codec": "libvpx", "deadline": "realtime"}
    return {
        "small": timed_video(folder / "small.mp4", FAST),
        "large": timed_video(folder / "large.mp4", SLOW, side=128),
        "short": timed_video(folder / "short.mp4", range(20_000, 21_000, 40), side=256),
        "small.webm": timed_video(folder / "small.webm", FAST, **vp8),
        "large.webm": timed_video(folder / "large.webm", SLOW, side=128, **vp8),
    }


def joined(ffmpeg: Ffmpeg, target: Path, first: Path, second: Path, *options: object) -> Path:
    copy = ("-map", "0:v", "-map", "1:v", "-c", "copy")
    ffmpeg("-i", first, "-i", second, *copy, *options, target)
    return target


def check_all(path: Path, shown: Shown, expected: list[int]) -> None:
    """Compare the frames at the asked times, and what PyAV alone makes of them."""
    assert [shown(frame) for frame in decode_frames(path, ASKED)] == expected
    reader = AvReader(path)
    assert shown(next(iter(reader.frames([0])))) == expected[0]


FAST_SHOWN = [0, 480, 1000, 1480, 2000, 2480, 3000, 3480]
SLOW_SHOWN = [10_000, 10_480, 10_960, 11_440, 12_000, 12_480, 12_960, 13_440]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "ts", "avi"])
@pytest.mark.parametrize("order", [("small", "large"), ("large", "small")])
def test_the_larger_of_two_tracks_is_the_video(
    tracks: dict[str, Path],
    shown: Shown,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    container: str,
    order: tuple[str, str],
) -> None:
    ending = ".webm" if container == "webm" else ""
    first, second = (tracks[name + ending] for name in order)
    path = joined(ffmpeg, tmp_path / f"a.{container}", first, second, "-disposition:v", "default")

    assert examine(path).track == order.index("large")
    # AVI's ticks are those of the faster track here: half of the times have no frame of their own.
    check_all(path, shown, SLOW_SHOWN)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_the_track_that_is_shown_by_default_is_the_video(
    tracks: dict[str, Path], shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path, container: str
) -> None:
    ending = ".webm" if container == "webm" else ""
    flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    large, small = tracks["large" + ending], tracks["small" + ending]
    path = joined(ffmpeg, tmp_path / f"a.{container}", large, small, *flags)

    assert examine(path).track == 1
    check_all(path, shown, FAST_SHOWN)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts", "avi"])
@pytest.mark.parametrize("kind", ["picture", "short"])
def test_a_thumbnail_or_preview_is_not_the_video(
    tracks: dict[str, Path], shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path, container: str, kind: str
) -> None:
    first = tracks["short"]
    if kind == "picture":
        first = tmp_path / "thumbnail.mp4"
        ffmpeg(
            "-i", tracks["short"], "-frames:v", "1", "-c:v", "mpeg2video", "-s", "512x512", first
        )
    path = joined(ffmpeg, tmp_path / f"a.{container}", first, tracks["small"])

    assert examine(path).track == 1
    check_all(path, shown, FAST_SHOWN)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_cover_art_is_not_the_video_and_costs_no_speed(
    tracks: dict[str, Path], shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path, container: str
) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / f"a.{container}"
    Image.new("RGB", (600, 600), "red").save(cover)
    if container == "mkv":
        ffmpeg(
            *("-i", tracks["small"], "-c", "copy", "-attach", cover),
            *("-metadata:s:t", "mimetype=image/png", path),
        )
    else:
        joined(ffmpeg, path, tracks["small"], cover, "-disposition:v:1", "attached_pic")

    assert examine(path).track == 0
    assert examine(path).is_for_decord
    check_all(path, shown, FAST_SHOWN)
    assert shown(next(iter(DecordReader(path).frames([25])))) == 1000


def test_a_track_that_starts_after_where_ffmpeg_looks_is_measured_by_its_first_frame(
    timed_video: MakeVideo, shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    large = timed_video(tmp_path / "large.mp4", range(0, 10_000, 200))
    small = timed_video(tmp_path / "small.mp4", range(20_000, 30_000, 200), side=32)
    late, path = ("-itsoffset", "600", "-i", large), tmp_path / "a.ts"
    ffmpeg(*late, "-i", small, "-map", "0:v", "-map", "1:v", "-c", "copy", path)

    assert examine(path).track == 0
    assert [shown(frame) for frame in decode_frames(path, (0.0, 5.0))] == [0, 5000]


def test_a_default_track_of_an_unknown_codec_is_named(
    tracks: dict[str, Path], ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path = joined(ffmpeg, tmp_path / "a.mp4", tracks["small"], tracks["large"])
    data = path.read_bytes()
    place = data.rindex(b"avc1")
    path.write_bytes(data[:place] + b"zzz1" + data[place + 4 :])

    with pytest.raises(UnusableVideo, match="codec of its track 1 is not known") as caught:
        examine(path)
    assert caught.value.reason is DropReason.UNSUPPORTED
