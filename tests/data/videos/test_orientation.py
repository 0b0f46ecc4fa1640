"""Turned and mirrored videos come as `ffmpeg` shows them, whatever says so and whoever reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.orientation import Orientation
from assay_data.video.reading import AvReader, Frame, decode_frames, examine, probe

MakeVideo = Callable[..., Path]
Shown = Callable[[Frame], int]
Ffmpeg = Callable[..., None]

ASKED = (0.0, 1.0, 2.0)
WAYS = {
    "hflip": ("-display_hflip",),
    "vflip": ("-display_vflip",),
    "turn": ("-display_rotation", "90"),
    "turn-back": ("-display_rotation", "270"),
    "half-turn": ("-display_rotation", "180"),
    "turn-hflip": ("-display_rotation", "90", "-display_hflip"),
    "turn-vflip": ("-display_rotation", "90", "-display_vflip"),
}
ONE = 1 << 16


@pytest.fixture(scope="module")
def stored(timed_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same frames, as they are stored, in H.264 and VP8."""
    folder = tmp_path_factory.mktemp("stored")
    vp8 = {"codec": "libvpx", "deadline": "realtime"}
    webm = timed_video(folder / "a.webm", **vp8)
    return {"webm": webm, "other": timed_video(folder / "a.mp4", g="12")}


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("way", WAYS)
def test_what_the_container_says_is_done(
    stored: dict[str, Path],
    shown: Shown,
    ffmpeg: Ffmpeg,
    shown_by_ffmpeg: Callable[[Path], list[int]],
    tmp_path: Path,
    container: str,
    way: str,
) -> None:
    path = tmp_path / f"a.{container}"
    ffmpeg(*WAYS[way], "-i", stored.get(container, stored["other"]), "-c", "copy", path)

    ours = [shown(frame) for frame in decode_frames(path, ASKED)]

    assert ours == shown_by_ffmpeg(path)[:51:25]
    assert ours == [shown(f) for f in AvReader(path).frames([0, 25, 50])]
    # decord turns in MP4 and MOV only, and mirrors nowhere.
    is_turn = way in ("turn", "turn-back", "half-turn") and container in ("mp4", "mov")
    assert examine(path).is_for_decord is is_turn


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("says", ["rotate=90", "flip=horizontal", "rotate=180:flip=vertical"])
def test_what_the_stream_says_is_done(
    stored: dict[str, Path],
    shown: Shown,
    ffmpeg: Ffmpeg,
    shown_by_ffmpeg: Callable[[Path], list[int]],
    tmp_path: Path,
    container: str,
    says: str,
) -> None:
    path = tmp_path / f"a.{container}"
    says = f"h264_metadata=display_orientation=insert:{says}"
    ffmpeg("-i", stored["other"], "-c", "copy", "-bsf:v", says, path)

    assert not examine(path).is_for_decord
    numbers = [shown(frame) for frame in AvReader(path).frames(range(75))]
    assert numbers == shown_by_ffmpeg(path)
    assert numbers != list(range(0, 3000, 40))


def test_two_orientations_that_differ_are_a_drop_with_a_command_that_helps(
    stored: dict[str, Path], shown: Shown, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path, mended = tmp_path / "a.mp4", tmp_path / "mended.mp4"
    says = "h264_metadata=display_orientation=insert:rotate=90"
    source = ("-display_rotation", "180", "-i", stored["other"])
    ffmpeg(*source, "-c", "copy", "-bsf:v", says, path)

    with pytest.raises(UnusableVideo, match="filter_units=remove_types=6") as caught:
        decode_frames(path, ASKED)
    assert caught.value.reason is DropReason.UNSUPPORTED
    ffmpeg("-i", path, "-c", "copy", "-bsf:v", "filter_units=remove_types=6", mended)
    assert [shown(f) for f in decode_frames(mended, [1.0])] == [shown_turned(shown, 1000)]


def shown_turned(shown: Shown, number: int) -> int:
    """Return what a number's picture shows after half a turn."""
    bits = [(number >> place) & 1 for place in range(16)][::-1]
    return sum(bit << place for place, bit in enumerate(bits))


@pytest.mark.parametrize(
    "matrix, pixels",
    [
        ((ONE, 0, 0, ONE), [[1, 2, 3], [4, 5, 6]]),
        ((-ONE, 0, 0, ONE), [[3, 2, 1], [6, 5, 4]]),
        ((ONE, 0, 0, -ONE), [[4, 5, 6], [1, 2, 3]]),
        ((-ONE, 0, 0, -ONE), [[6, 5, 4], [3, 2, 1]]),
        ((0, ONE, -ONE, 0), [[4, 1], [5, 2], [6, 3]]),  # A quarter turn clockwise.
        ((0, -ONE, ONE, 0), [[3, 6], [2, 5], [1, 4]]),  # And one counter-clockwise.
        ((0, ONE, ONE, 0), [[1, 4], [2, 5], [3, 6]]),
        ((0, -ONE, -ONE, 0), [[6, 3], [5, 2], [4, 1]]),
        ((2 * ONE, 900, -900, 2 * ONE), [[1, 2, 3], [4, 5, 6]]),  # Less than a degree.
        ((0, 0, 0, 0), [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_each_way_of_turning_has_its_matrix(
    matrix: tuple[int, int, int, int], pixels: list[list[int]]
) -> None:
    a, b, c, d = matrix
    orientation = Orientation.of_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    picture = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)[..., None]

    assert orientation.upright(picture)[..., 0].tolist() == pixels
    assert orientation.is_turn is (a * d - b * c >= 0)


def test_an_odd_angle_is_a_drop_with_a_command_that_helps(
    stored: dict[str, Path], ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path, mended = tmp_path / "a.mp4", tmp_path / "mended.mp4"
    ffmpeg("-display_rotation", "30", "-i", stored["other"], "-c", "copy", path)

    with pytest.raises(UnusableVideo, match=r"no multiple of 90 degrees.*ffmpeg -i FILE NEW"):
        decode_frames(path, ASKED)
    ffmpeg("-i", path, mended)
    assert decode_frames(mended, ASKED).shape[0] == 3


def test_a_probe_says_the_shown_size_and_the_filters_that_make_it(
    timed_video: MakeVideo, ffmpeg: Ffmpeg, shown: Shown, tmp_path: Path
) -> None:
    path, picture = tmp_path / "a.mp4", tmp_path / "a.png"
    flat = tmp_path / "flat.mp4"
    ffmpeg(
        "-i",
        timed_video(tmp_path / "stored.mp4", range(1000, 2000, 40)),
        "-vf",
        "scale=96:64",
        flat,
    )
    ffmpeg("-display_rotation", "90", "-display_hflip", "-i", flat, "-c", "copy", path)

    info = probe(path)
    filters = ",".join(info.orientation.ffmpeg_filters)
    ffmpeg("-noautorotate", "-i", path, "-vf", filters, "-frames:v", "1", picture)

    assert (info.width, info.height, info.track, info.begin_seconds) == (64, 96, 0, 0.0)
    (ours,), theirs = decode_frames(path, [0.0]), np.asarray(Image.open(picture).convert("RGB"))
    assert ours.shape == theirs.shape == (96, 64, 3)
    assert shown(ours) == shown(theirs) != 1000
