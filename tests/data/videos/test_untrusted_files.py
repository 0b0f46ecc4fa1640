"""Each kind of bad or odd file becomes the right clip, or a drop that says why."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from assay_api import Dataset, FramePlan
from assay_data.dataset import ClipDataset, decode_image
from assay_data.drops import DropReason
from assay_data.ingest import build_dataset
from assay_data.store import FolderStore
from assay_data.video.isolation import Failure, FailureKind
from assay_data.video.prepare import PreparedVideo, Unusable

MakeVideo = Callable[..., Path]
Outcome = PreparedVideo | Unusable | Failure
Prepare = Callable[..., list[Outcome]]

PLAN = FramePlan(count=8, fps=4.0, sampling="Whole")
HOUR_MS = 3_600_000


def reason(outcome: Outcome) -> str:
    assert not isinstance(outcome, PreparedVideo)
    return (outcome.kind if isinstance(outcome, Failure) else outcome.reason).value


def whole(outcome: Outcome) -> PreparedVideo:
    assert isinstance(outcome, PreparedVideo), outcome
    return outcome


def write_tiny(path: Path, codec: str, pix_fmt: str, size: tuple[int, int]) -> Path:
    """Write 24 frames at 12 per second, lossless, of any size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        for index in range(24):
            pixels = np.full((size[1], size[0], 3), 10 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def damaged(
    timed_video: MakeVideo, prepared: Prepare, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """What became of files that hold no whole video, by name."""
    folder = tmp_path_factory.mktemp("damaged")
    mp4 = timed_video(folder / "whole.mp4").read_bytes()
    mkv = timed_video(folder / "whole.mkv").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8).tobytes()
    files = {
        "half.mp4": mp4[: len(mp4) // 2],
        "headless.mp4": mp4[len(mp4) // 3 :],
        "half.mkv": mkv[: len(mkv) // 2],
        "noise.mp4": noise,
        "noise.avi": b"RIFF" + noise,
        "text.webm": b"This is no video. " * 100,
        "unknown.mp4": mp4.replace(b"avc1", b"zzz1"),
        "unknown.mkv": mkv.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ZZZ"),
        "cut.jpg": b"\xff\xd8\xff\xe0" + noise[:100],
        "one-byte.mp4": b"\0",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    outcomes = prepared([folder / name for name in files], PLAN)
    return dict(zip(files, outcomes, strict=True))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("half.mp4", DropReason.CORRUPT),
        ("headless.mp4", DropReason.CORRUPT),
        ("half.mkv", DropReason.TRUNCATED),
        ("noise.mp4", DropReason.CORRUPT),
        ("noise.avi", DropReason.CORRUPT),
        ("text.webm", DropReason.CORRUPT),
        ("unknown.mp4", DropReason.UNSUPPORTED),
        ("unknown.mkv", DropReason.UNSUPPORTED),
        ("cut.jpg", DropReason.CORRUPT),
        ("one-byte.mp4", DropReason.CORRUPT),
    ],
)
def test_a_damaged_file_is_a_drop_with_its_reason(
    damaged: dict[str, Outcome], name: str, expected: DropReason
) -> None:
    outcome = damaged[name]
    assert isinstance(outcome, Unusable), outcome
    assert (outcome.reason, bool(outcome.detail)) == (expected, True)


def test_a_cut_off_matroska_with_sound_is_truncated(
    timed_video: MakeVideo, prepared: Prepare, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    silent, whole_file = timed_video(tmp_path / "silent.mkv"), tmp_path / "whole.mkv"
    sound = ("-f", "lavfi", "-i", "sine=d=3", "-c:a", "aac")
    ffmpeg("-i", silent, *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", whole_file)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole_file.read_bytes()[: whole_file.stat().st_size // 2])

    complete, incomplete = prepared([whole_file, cut], PLAN)

    whole(complete)
    assert reason(incomplete) == DropReason.TRUNCATED


@pytest.fixture(scope="module")
def odd(
    timed_video: MakeVideo,
    prepared: Prepare,
    ffmpeg: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Outcome]:
    """What became of odd files, by name."""
    folder = tmp_path_factory.mktemp("odd")
    mp4 = timed_video(folder / "whole.mp4")
    shutil.copy(mp4, folder / "mp4-called.avi")
    shutil.copy(mp4, folder / "mp4-called.jpg")
    Image.new("RGB", (64, 64), "red").save(folder / "jpeg-called.mp4", "JPEG")
    Image.new("RGB", (64, 64), "red").save(folder / "png-called.jpg", "PNG")
    write_tiny(folder / "one-pixel.mkv", "ffv1", "bgr0", (1, 1))
    write_tiny(folder / "one-pixel.mov", "png", "rgb24", (1, 1))
    write_tiny(folder / "strip.mov", "png", "rgb24", (1, 300))
    copy = ("-i", mp4, "-c", "copy", "-bsf:v")
    ffmpeg(*copy, "setts=pts=0:dts=N", folder / "standing-still.mp4")
    ffmpeg(*copy, "setts=pts='if(eq(mod(N,10),5),PTS-900,PTS)'", folder / "unordered.mov")
    timed_video(folder / "one-frame.mp4", [0])
    names = sorted(path.name for path in folder.iterdir())
    outcomes = prepared([folder / name for name in names], PLAN)
    return dict(zip(names, outcomes, strict=True))


@pytest.mark.parametrize("name", ["mp4-called.avi", "mp4-called.jpg", "whole.mp4"])
def test_a_wrong_name_does_not_matter(
    odd: dict[str, Outcome], shown: Callable[..., int], name: str
) -> None:
    (clip,) = whole(odd[name]).clips
    assert clip.images == whole(odd["whole.mp4"]).clips[0].images
    frames = [decode_image(image) for image in clip.images]
    times = [375 * i // 40 * 40 for i in range(8)]
    assert [shown(frame) for frame in frames] == times


@pytest.mark.parametrize("name", ["jpeg-called.mp4", "png-called.jpg"])
def test_a_picture_by_another_name_is_a_picture(odd: dict[str, Outcome], name: str) -> None:
    (clip,) = whole(odd[name]).clips
    assert (clip.timestamps_seconds, clip.width, clip.height) == ((0.0, 0.0), 56, 56)


@pytest.mark.parametrize("name", ["one-pixel.mkv", "one-pixel.mov"])
def test_one_pixel_grows_to_the_least_size(odd: dict[str, Outcome], name: str) -> None:
    (clip,) = whole(odd[name]).clips
    assert (clip.width, clip.height) == (56, 56)
    levels = [int(decode_image(image).mean()) for image in clip.images]
    assert levels == pytest.approx([30 * i for i in range(8)], abs=2)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("strip.mov", DropReason.ASPECT_RATIO),
        ("standing-still.mp4", DropReason.TOO_SHORT),
        ("one-frame.mp4", DropReason.TOO_SHORT),
    ],
)
def test_what_makes_no_clip_is_dropped(
    odd: dict[str, Outcome], name: str, expected: DropReason
) -> None:
    assert reason(odd[name]) == expected


def test_unordered_times_give_ascending_frames(
    odd: dict[str, Outcome], shown: Callable[..., int]
) -> None:
    (clip,) = whole(odd["unordered.mov"]).clips
    seen = [shown(decode_image(image)) for image in clip.images]
    assert seen == pytest.approx([375 * i for i in range(8)], abs=80)
    assert list(clip.timestamps_seconds) == sorted(clip.timestamps_seconds)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
def test_ten_hours_of_few_frames_are_sampled_over_all_of_them(
    timed_video: MakeVideo,
    prepared: Prepare,
    shown: Callable[..., int],
    tmp_path: Path,
    container: str,
) -> None:
    times = [i * HOUR_MS // 2 for i in range(21)]
    path = timed_video(tmp_path / f"long.{container}", times)

    begin = time.monotonic()
    (outcome,) = prepared([path], PLAN)

    assert time.monotonic() - begin < 20
    (clip,) = whole(outcome).clips
    assert clip.end_seconds == pytest.approx(10.5 * 3600)
    parts = [i * 10.5 / 8 for i in range(8)]
    expected = [max(t for t in times if t <= part * HOUR_MS) % 2**16 for part in parts]
    assert [shown(decode_image(image)) for image in clip.images] == expected


@pytest.fixture(scope="module")
def eight_thousand(ffmpeg: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("8k") / "8k.mp4"
    picture = "color=0x406080:s=7680x4320:r=4:d=1"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "ultrafast", path)
    return path


def test_8k_frames_fit_into_a_workers_memory(eight_thousand: Path, prepared: Prepare) -> None:
    plan = FramePlan(count=2)

    (outcome,) = prepared([eight_thousand], plan)

    (clip,) = whole(outcome).clips
    assert (clip.width, clip.height) == (504, 280)
    assert decode_image(clip.images[1]).mean(axis=(0, 1)) == pytest.approx([64, 96, 128], abs=4)


def test_frames_that_do_not_fit_are_a_counted_drop(
    eight_thousand: Path, prepared: Prepare, timed_video: MakeVideo, tmp_path: Path
) -> None:
    small = timed_video(tmp_path / "small.mp4")

    too_large, after = prepared(
        [eight_thousand, small], FramePlan(count=4), memory_bytes=900 * 2**20
    )

    assert reason(too_large) in (FailureKind.OUT_OF_MEMORY, DropReason.OUT_OF_MEMORY)
    whole(after)


def test_a_decoder_that_hangs_is_ended_at_the_deadline(
    eight_thousand: Path, prepared: Prepare
) -> None:
    (outcome,) = prepared([eight_thousand], FramePlan(count=4), deadline_seconds=0.05)

    assert reason(outcome) == FailureKind.TIMEOUT


def test_odd_places_and_repeated_files_are_counted(
    timed_video: MakeVideo, dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    root = tmp_path / "source"
    later = [range(start, start + 2000, 40) for start in range(0, 200, 40)]
    timed_video(root / "real/with space.mp4", later[0])
    timed_video(root / "real/new\nline.mkv", later[1])
    timed_video(root / "real/影片 ünï.mov", later[2])
    timed_video(root / "fake/sora/'quoted' $x;.mp4", later[3])
    timed_video(root / "fake/-dash.mp4", later[4])
    shutil.copy(root / "fake/-dash.mp4", root / "fake/the same.mp4")
    (root / "real/up").symlink_to(root, target_is_directory=True)
    (root / "real/self.mp4").symlink_to("self.mp4")
    Path(os.fsdecode(os.fsencode(root / "real") + b"/bad-\xff.mp4")).write_bytes(b"x")

    report = build_dataset(dataset(root), FolderStore(tmp_path / "out"), 2, lambda *_: None)

    assert {drop.source: drop.reason for drop in report.drops} == {
        "fake/the same.mp4": DropReason.DUPLICATE,
        "real/bad-\\xff.mp4": DropReason.UNREADABLE,
        "real/self.mp4": DropReason.UNREADABLE,
    }
    rows = ClipDataset.open(FolderStore(tmp_path / "out")).rows()
    assert len(rows) == 5
