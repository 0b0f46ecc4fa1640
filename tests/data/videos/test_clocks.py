"""A video begins at its first frame and ends with its last, wherever its clock starts."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay_api import FramePlan
from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.isolation import Failure
from assay_data.video.marks import Mark
from assay_data.video.parts import Parts
from assay_data.video.prepare import PreparedVideo, Unusable
from assay_data.video.reading import AvReader, Frame, examine

MakeVideo = Callable[..., Path]
Shown = Callable[[Frame], int]
Ffmpeg = Callable[..., None]
Prepare = Callable[..., list[PreparedVideo | Unusable | Failure]]

FIRST = tuple(range(0, 4000, 40))
SECOND = tuple(range(4000, 8000, 40))
PLAN = FramePlan(count=8, fps=2.0)
VP8 = {"codec": "libvpx", "deadline": "realtime"}
H264 = {"g": "25", "bf": "2", "sc_threshold": "0"}


def numbers(path: Path, shown: Shown) -> list[int]:
    """Return the numbers in all frames."""
    reader = AvReader(path)
    return [shown(frame) for frame in reader.frames(range(len(reader.starts_seconds)))]


@pytest.fixture(scope="module")
def recordings(timed_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Eight seconds in H.264 and VP8 with a key frame a second."""
    folder = tmp_path_factory.mktemp("recordings")
    return {
        "mp4": timed_video(folder / "a.mp4", FIRST + SECOND, **H264),
        "webm": timed_video(folder / "a.webm", FIRST + SECOND, g="25", **VP8),
    }


@pytest.mark.parametrize(
    "container", ["mp4", "mov", "mkv", "webm", "ts", "m2ts", "flv", "dash.mp4"]
)
def test_a_segment_whose_clock_starts_later_is_whole(
    recordings: dict[str, Path],
    prepared: Prepare,
    shown: Shown,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    container: str,
) -> None:
    whole, path = recordings.get(container, recordings["mp4"]), tmp_path / f"late.{container}"
    if container == "dash.mp4":
        index = ("-f", "dash", "-seg_duration", "4", tmp_path / "a.mpd")
        ffmpeg("-i", whole, "-c", "copy", *index)
        parts = ("init-stream0.m4s", "chunk-stream0-00002.m4s")
        path.write_bytes(b"".join((tmp_path / part).read_bytes() for part in parts))
    else:
        pieces = tmp_path / f"%d.{container}"
        split = ("-f", "segment", "-segment_time", "4", "-reset_timestamps", "0", pieces)
        ffmpeg("-i", whole, "-c", "copy", *split)
        (tmp_path / f"1.{container}").rename(path)

    video = examine(path)
    (outcome,) = prepared([path], PLAN)

    assert video.timeline.begin_seconds > 3.9
    assert video.timeline.duration_seconds == pytest.approx(4.0, abs=0.01)
    assert isinstance(outcome, PreparedVideo), outcome
    assert numbers(path, shown) == list(SECOND)


def test_an_avi_with_empty_frames_is_whole(
    recordings: dict[str, Path], prepared: Prepare, shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path = tmp_path / "late.avi"
    ffmpeg("-itsoffset", "4", "-i", recordings["mp4"], "-c", "copy", path)

    (outcome,) = prepared([path], PLAN)

    assert isinstance(outcome, PreparedVideo), outcome
    assert numbers(path, shown) == [*FIRST, *SECOND]
    assert examine(path).timeline.duration_seconds == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("container", ["mkv", "webm"])
def test_a_late_segment_that_is_cut_off_is_truncated(
    recordings: dict[str, Path], prepared: Prepare, ffmpeg: Ffmpeg, tmp_path: Path, container: str
) -> None:
    whole, path = recordings.get(container, recordings["mp4"]), tmp_path / f"late.{container}"
    ffmpeg("-itsoffset", "4", "-i", whole, "-c", "copy", path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    (outcome,) = prepared([path], PLAN)

    assert isinstance(outcome, Unusable), outcome
    assert outcome.reason is DropReason.TRUNCATED


@pytest.mark.parametrize("by_mkvmerge", [True, False])
def test_what_a_matroska_tag_says_depends_on_who_wrote_it(
    recordings: dict[str, Path], ffmpeg: Ffmpeg, tmp_path: Path, by_mkvmerge: bool
) -> None:
    path = tmp_path / "late.mkv"
    tags = ("-metadata:s:v", "_STATISTICS_TAGS=BPS DURATION") if by_mkvmerge else ()
    ffmpeg("-itsoffset", "4", "-i", recordings["mp4"], "-c", "copy", *tags, path)

    # FFmpeg writes the end, 12 s; mkvmerge would mean a length by it.
    assert examine(path).declared_seconds == pytest.approx(12.0 if by_mkvmerge else 8.0)


@pytest.fixture(scope="module")
def halves(timed_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two recordings of four seconds, each with a clock of its own, by codec and number."""
    folder = tmp_path_factory.mktemp("halves")
    codecs = {
        "mpeg2video": ("mkv", {"clock": 25, **H264}),
        "libx264": ("mp4", H264),
        "libvpx": ("webm", VP8),
    }
    return {
        f"{codec} {number}": timed_video(
            folder / f"{codec}{number}.{ending}", times, **{"codec": codec, **options}
        )
        for codec, (ending, options) in codecs.items()
        for number, times in enumerate((FIRST, SECOND))
    }


def join(
    ffmpeg: Ffmpeg, parts: list[Path], offsets: tuple[str, ...], path: Path, *options: object
) -> Path:
    """Put recordings one after another whose clocks begin at these seconds."""
    no_delay = ("-muxdelay", "0", "-muxpreload", "0")
    for number, (recording, offset) in enumerate(zip(parts, offsets, strict=True)):
        part = path.with_name(f"part{number}-{path.name}")
        # The recordings show times from 0 and from 4 s, and their clocks begin there.
        zero = ("-ss", "0", "-i", recording, "-c", "copy", "-output_ts_offset", offset)
        ffmpeg(*zero, *no_delay, *options, part)
        with path.open("ab") as joined:
            joined.write(part.read_bytes())
    return path


@pytest.mark.parametrize("container", ["ts", "m2ts"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize(
    "offsets", [("0", "0"), ("600", "0"), ("0", "600"), ("95441", "600"), ("2", "1")]
)
def test_recordings_joined_in_a_stream_follow_each_other(
    halves: dict[str, Path],
    shown: Shown,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    container: str,
    codec: str,
    offsets: tuple[str, str],
) -> None:
    parts = [halves[f"{codec} 0"], halves[f"{codec} 1"]]
    path = join(ffmpeg, parts, offsets, tmp_path / f"joined.{container}")

    timeline = examine(path).timeline

    assert numbers(path, shown) == [*FIRST, *SECOND]
    assert timeline.duration_seconds == pytest.approx(8.0, abs=0.01)
    assert timeline.starts_seconds == pytest.approx([i / 25 for i in range(200)], abs=0.01)
    assert len(timeline.parts) == 2


def test_a_part_joined_in_the_middle_of_a_group_starts_at_its_key_frame(
    halves: dict[str, Path], shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    first, second, path = (tmp_path / f"{name}.ts" for name in ("first", "second", "joined"))
    for number, part in enumerate((first, second)):
        ffmpeg("-i", halves[f"libx264 {number}"], "-c", "copy", part)
    data = second.read_bytes()
    # The tables, then the rest from somewhere in the first second on.
    path.write_bytes(first.read_bytes() + data[: 3 * 188] + data[20 * 188 :])

    kept = numbers(path, shown)

    assert kept[:100] == list(FIRST)
    assert kept[100:] == list(SECOND[-len(kept[100:]) :])
    assert kept[100] in (5000, 6000)


@pytest.mark.parametrize("container", ["mkv", "webm", "mp4", "mpg"])
def test_elsewhere_joined_recordings_are_a_drop_with_a_command_that_helps(
    halves: dict[str, Path],
    prepared: Prepare,
    shown: Shown,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    container: str,
) -> None:
    codec = {"webm": "libvpx", "mpg": "mpeg2video"}.get(container, "libx264")
    parts = [halves[f"{codec} 0"], halves[f"{codec} 1"]]
    fragments = (
        ("-movflags", "frag_every_frame+empty_moov+default_base_moof") if container == "mp4" else ()
    )
    path = join(ffmpeg, parts, ("0", "0"), tmp_path / f"joined.{container}", *fragments)

    (outcome,) = prepared([path], PLAN)

    assert isinstance(outcome, Unusable), outcome
    assert outcome.reason is DropReason.UNSUPPORTED
    assert re.match(r"its clock jumps from (3.9|4)\S* to \S+ seconds", outcome.detail)
    (command,) = re.findall("`ffmpeg (.*)`", outcome.detail)
    mended = tmp_path / "mended.mp4"
    places = {"FILE": path, "NEW.mp4": mended}
    ffmpeg(*(places.get(word, word) for word in command.split()))
    # An edit list of the first recording may hide the first frame of the second.
    whole, kept = [*FIRST, *SECOND], numbers(mended, shown)
    assert kept in (whole, whole[:100] + whole[101:])


def test_joined_frames_without_times_are_a_drop() -> None:
    timed = Mark(pts=0, dts=0, is_key=True, is_refresh=False, is_shown=True)
    with pytest.raises(UnusableVideo, match="some of its frames have no time"):
        Parts.of([[timed], [timed, replace(timed, pts=None)]], all_timed=False, frame_ticks=1)
