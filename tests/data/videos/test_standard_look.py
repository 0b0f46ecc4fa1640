"""What standardising makes of videos that differ in everything but what they show."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from assay_api import InvalidInput
from assay_data.drops import DropReason
from assay_data.video.orientation import Orientation
from assay_data.video.reading import decode_frames, probe
from assay_data.video.standard import Standard
from assay_data.video.standardise import find_ffmpeg, standardise_folder

SMALL = Standard(width_pixels=64, height_pixels=64)
GREYS = (16, 60, 120, 180)
"""Of the four vertical bars of `bars`, from 0 to 255."""


class Look(NamedTuple):
    tracks: list[str]
    codec: str
    pixel_format: str
    size: tuple[int, int]
    fps: float
    begin: float
    colours: tuple[int, int, int, int]
    pixel_aspect: object
    is_interlaced: bool
    side_data: list[str]
    metadata: dict[str, str]
    num_chapters: int


def look_of(path: Path) -> Look:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        sides = [frame.side_data[i].type.name for i in range(len(frame.side_data))]
        return Look(
            [s.type for s in container.streams],
            stream.codec_context.name,
            frame.format.name,
            (frame.width, frame.height),
            float(stream.average_rate or 0),
            float((stream.start_time or 0) * (stream.time_base or 1)),
            (
                int(frame.color_range),
                int(frame.colorspace),
                int(frame.color_trc),
                int(frame.color_primaries),
            ),
            stream.sample_aspect_ratio,
            frame.interlaced_frame,
            sides,
            dict(stream.metadata) | dict(container.metadata),
            len(container.chapters()),
        )


def standardised(source: Path) -> tuple[Path, list[tuple[str, DropReason]]]:
    target = source.with_name(source.name + "-standard")
    _, drops = standardise_folder(source, target, 2, lambda done, total: None, SMALL)
    return target, [(drop.source, drop.reason) for drop in drops]


def frame_numbers(path: Path, shown: Callable[[NDArray[np.uint8]], int]) -> list[int]:
    with av.open(str(path)) as container:
        return [shown(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def greys_of(path: Path) -> list[float]:
    """Return the level in the middle of each bar, as our readers see it."""
    (frame,) = decode_frames(path, [0.2])
    assert np.abs(frame - frame.mean(axis=2, keepdims=True)).max() < 12  # grey
    width = frame.shape[1] // 4
    return [float(frame[8:-8, i * width + 4 : (i + 1) * width - 4].mean()) for i in range(4)]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of four grey bars."""
    levels = np.repeat(np.array(GREYS, dtype=np.uint8), 16)
    picture = np.broadcast_to(levels[None, :, None], (64, 64, 3))
    path = tmp_path_factory.mktemp("bars") / "bars.png"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.to_image().save(path)
    return path


def coded(ffmpeg: Callable[..., None], bars: Path, path: Path, filters: str, *more: str) -> Path:
    """Write the bars as a video of a second, after these filters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    still = ("-loop", 1, "-framerate", 25, "-t", 1, "-i", bars)
    ffmpeg(*still, "-vf", filters, *(more or ("-c:v", "libx264")), path)
    return path


def tagged(matrix: str, transfer: str, primaries: str, full: bool = False) -> str:
    return (
        f"setparams=range={'pc' if full else 'tv'}:colorspace={matrix}:color_trc={transfer}:"
        f"color_primaries={primaries}"
    )


TO_709 = "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p12le," + tagged(*["bt709"] * 3)
X265 = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params")
MASTERING = (
    "log-level=none:hdr10=1:repeat-headers=1:max-cll=1000,400:master-display="
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)


def hdr(transfer: str) -> str:
    """Return filters to HDR in which white paper has 203 nits, as BT.2408 puts it."""
    to_light = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt2020"
    return f"{TO_709},{to_light},zscale=t={transfer}:m=bt2020nc:r=tv:npl=203,format=yuv420p10le"


@pytest.fixture(scope="module")
def many_looks(
    bars: Path, ffmpeg: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of one picture in many formats."""
    root = tmp_path_factory.mktemp("looks") / "in"

    def write(name: str, filters: str, *more: str) -> None:
        coded(ffmpeg, bars, root / name, filters, *more)

    write("plain.mp4", "format=yuv420p")
    write("bt709.mp4", f"{TO_709},format=yuv420p")
    write(
        "bt601.mp4",
        "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p,"
        + tagged("smpte170m", "smpte170m", "smpte170m"),
    )
    write(
        "full.mp4",
        "scale=out_color_matrix=bt709:out_range=pc,format=yuv420p,"
        + tagged("bt709", "bt709", "bt709", full=True),
    )
    write("pq.mp4", hdr("smpte2084"), *X265, MASTERING)
    write("hlg.mov", hdr("arib-std-b67"), *X265, "log-level=none")
    write("sdr2020.mkv", f"{TO_709},zscale=p=bt2020:m=bt2020nc,format=yuv420p10le")
    write("anamorphic.mp4", "format=yuv420p,setsar=32/27")
    write("interlaced.mp4", "format=yuv420p,setfield=tff", "-flags", "+ildct+ilme")
    write("camera.mts", "format=yuv420p", "-f", "mpegts")
    write("old.mpg", "format=yuv420p", "-c:v", "mpeg1video")
    write("rgb.mkv", "format=gbrp", "-c:v", "ffv1")
    write("moving.gif", "fps=10", "-c:v", "gif")
    return root


def test_all_videos_look_alike_afterwards(
    many_looks: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\ntitle=a secret\n[CHAPTER]\nSTART=0\nEND=500\ntitle=one\n")
    plain, titled = many_looks / "plain.mp4", many_looks / "titled.mkv"
    language = ("-metadata:s:v", "language=fra", "-metadata:s:v", "title=x")
    ffmpeg("-i", plain, "-i", chapters, "-map_metadata", 1, "-c", "copy", *language, titled)

    target, drops = standardised(many_looks)

    assert drops == []
    looks = {str(look_of(path)): path.name for path in sorted(target.rglob("*.mp4"))}
    assert len(list(target.rglob("*.mp4"))) == 14
    assert list(looks.values()) == ["titled.mkv.mp4"], looks  # one look, the last name
    look = look_of(target / "pq.mp4")
    assert (look.tracks, look.codec, look.pixel_format) == (["video"], "hevc", "yuv420p10le")
    assert (look.size, look.fps, look.begin) == ((64, 64), 24.0, 0.0)
    assert look.colours == (1, 1, 1, 1)  # limited range; BT.709 three times, by ITU-T H.273
    assert (look.pixel_aspect, look.is_interlaced, look.num_chapters) == (1, False, 0)
    assert look.side_data == ["SEI_UNREGISTERED"]  # x265's own settings
    for path in target.rglob("*.mp4"):
        assert not {b"mdcv", b"clli", b"secret"} & set(path.read_bytes().split(b"\0"))
        assert greys_of(path) == pytest.approx(GREYS, abs=12), path.name


@pytest.mark.parametrize(
    "matrix, transfer",
    [("ycgco", "bt709"), ("bt2020c", "bt709"), ("ycgco", "smpte2084"), ("ictcp", "smpte2084")],
)
def test_rare_matrices_are_converted(
    matrix: str, transfer: str, bars: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    hdr_or_not = hdr("smpte2084") if transfer == "smpte2084" else f"{TO_709},zscale=p=bt2020"
    filters = hdr_or_not.replace("m=bt2020nc:", "").removesuffix(",format=yuv420p10le")
    filters += f":m={matrix},format=yuv444p10le"
    coded(ffmpeg, bars, tmp_path / "in/a.mkv", filters, "-c:v", "ffv1")

    target, drops = standardised(tmp_path / "in")

    assert drops == []
    assert greys_of(target / "a.mkv.mp4") == pytest.approx(GREYS, abs=12)


def test_the_greys_are_what_ingest_sees_in_the_source(many_looks: Path) -> None:
    target, _ = standardised(many_looks)

    for name in ("plain.mp4", "bt601.mp4", "full.mp4", "bt709.mp4"):
        assert greys_of(target / name) == pytest.approx(greys_of(many_looks / name), abs=4)


def test_sound_before_the_picture_takes_no_time_away(
    timed_video: Callable[..., Path],
    shown: Callable[[NDArray[np.uint8]], int],
    ffmpeg: Callable[..., None],
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    for late in (2, 6):
        times = range(0, 1000 * (10 - late), 40)
        picture = timed_video(tmp_path / "picture.mp4", times, clock=16000)
        sound = ("-f", "lavfi", "-t", 10, "-i", "sine")
        for container in ("mp4", "mov", "mkv", "ts"):
            made = tmp_path / f"in/{late}.{container}"
            ffmpeg("-itsoffset", late, "-i", picture, *sound, "-c:v", "copy", made)

    target, drops = standardised(tmp_path / "in")

    assert drops == []
    assert len(list(target.glob("*.mp4"))) == 8
    for place in target.glob("*.mp4"):
        num_frames = 120 if place.name.startswith("2") else 96
        numbers = frame_numbers(place, shown)
        assert len(numbers) == num_frames
        assert numbers[::24] == pytest.approx(range(0, num_frames * 1000 // 24, 1000), abs=21)
        assert look_of(place).begin == 0


def test_track_orientation_and_joined_clocks_are_those_of_ingest(
    timed_video: Callable[..., Path],
    shown: Callable[[NDArray[np.uint8]], int],
    ffmpeg: Callable[..., None],
    tmp_path: Path,
) -> None:
    source, picture = tmp_path / "in", timed_video(tmp_path / "p.mp4", range(0, 4000, 40))
    source.mkdir()
    copy = ("-c", "copy", "-map_metadata", -1)
    for name, way in (("mirrored", "-display_hflip"), ("upside-down", "-display_vflip")):
        ffmpeg(way, "-i", picture, *copy, source / f"{name}.mp4")
    ffmpeg("-display_rotation", 90, "-display_hflip", "-i", picture, *copy, source / "both.mov")
    later = timed_video(tmp_path / "later.mp4", range(8000, 12000, 40))
    small = timed_video(tmp_path / "small.mp4", range(0, 4000, 40), side=32)
    ffmpeg("-i", small, "-i", later, "-map", 0, "-map", 1, *copy, source / "second.mkv")
    for number, part in enumerate((picture, later)):
        ffmpeg("-i", part, *copy, "-muxdelay", 0, tmp_path / f"{number}.ts")
    parts = [(tmp_path / f"{number}.ts").read_bytes() for number in range(2)]
    (source / "joined.ts").write_bytes(b"".join(parts))

    target, drops = standardised(source)

    assert drops == []
    for path in sorted(source.iterdir()):
        made = target / (path.name if path.suffix == ".mp4" else f"{path.name}.mp4")
        times = [0.1, 1.1, 2.1, 3.1, *([4.3] if path.stem == "joined" else [])]
        assert [shown(frame) for frame in decode_frames(made, times)] == pytest.approx(
            [shown(frame) for frame in decode_frames(path, times)], abs=41
        ), path.name
        assert look_of(made).side_data == ["SEI_UNREGISTERED"]
        assert probe(made).orientation == Orientation()


def test_a_file_that_is_no_standard_video_is_made_again(
    clip: Callable[..., Path], ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    clip(tmp_path / "in/a.mp4", seconds=3.0)
    target, _ = standardised(tmp_path / "in")
    whole = (target / "a.mp4").stat().st_size
    ffmpeg("-i", target / "a.mp4", "-frames:v", 0, "-c", "copy", tmp_path / "empty.mp4")
    for wrong in (tmp_path / "empty.mp4", clip(tmp_path / "short.mp4", seconds=1.0)):
        (target / "a.mp4").write_bytes(wrong.read_bytes())

        standardised(tmp_path / "in")

        assert (target / "a.mp4").stat().st_size == whole


def test_interlaced_fields_become_one_picture(
    bars: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "in/a.mp4"
    path.parent.mkdir()
    moving = ("-loop", 1, "-framerate", 50, "-t", 2, "-i", bars)
    fields = "format=gray,scroll=h=0.1,interlace=lowpass=off,format=yuv420p"
    ffmpeg(*moving, "-vf", fields, "-c:v", "libx264", "-flags", "+ildct+ilme", path)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]

    target, _ = standardised(path.parent)

    with av.open(str(target / "a.mp4")) as container:
        made = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    assert comb(frames) > 20
    assert comb(made) < comb(frames) / 4


def comb(frames: list[NDArray[np.uint8]]) -> float:
    """Return by how much a line differs from the mean of its neighbours."""
    lines = np.stack(frames[2:-2]).astype(float)
    return float(np.abs(lines[:, 1:-1] - (lines[:, :-2] + lines[:, 2:]) / 2).mean())


def test_what_is_transparent_becomes_black(ffmpeg: Callable[..., None], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    clear = ("-f", "lavfi", "-i", "color=white@0.0:s=64x64:r=25:d=1,format=argb")
    ffmpeg(*clear, "-c:v", "qtrle", source / "a.mov")
    ffmpeg(*clear, "-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", source / "b.mov")
    ffmpeg(*clear, "-c:v", "ffv1", "-pix_fmt", "bgra", source / "c.mkv")
    palette = "split[a][b];[a]palettegen[p];[b][p]paletteuse"
    ffmpeg(*clear, "-vf", palette, "-c:v", "gif", source / "d.gif")

    target, drops = standardised(source)

    assert drops == []
    for path in source.iterdir():
        assert decode_frames(path, [0.0]).max() < 8, path.name
        assert decode_frames(target / f"{path.name}.mp4", [0.0]).max() < 8, path.name


def test_every_file_that_is_no_video_is_told(
    bars: Path, clip: Callable[..., Path], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    clip(source / "a.mp4")
    clip(source / "blink.mp4", seconds=1 / 60, fps=60)
    for name in ("still.jpg", "still.mp4", "notes.txt", os.fsdecode(b"caf\xe9.mp4")):
        (source / name).write_bytes(bars.read_bytes())

    target, drops = standardised(source)

    assert drops == [
        ("blink.mp4", DropReason.TOO_SHORT),
        ("caf\\udce9.mp4", DropReason.UNREADABLE),
        ("notes.txt", DropReason.NOT_A_VIDEO),
        ("still.jpg", DropReason.NOT_A_VIDEO),
        ("still.mp4", DropReason.NOT_A_VIDEO),
    ]
    assert [path.name for path in target.rglob("*.mp4")] == ["a.mp4"]


def test_a_target_made_before_colours_were_alike_is_refused(
    clip: Callable[..., Path], tmp_path: Path
) -> None:
    clip(tmp_path / "in/a.mp4")
    target = tmp_path / "in-standard"
    target.mkdir()
    (target / ".standard.json").write_text(
        '{"fps":24.0,"height_pixels":64,"seconds":5.0,"width_pixels":64}'
    )

    with pytest.raises(InvalidInput, match="another standard"):
        standardised(tmp_path / "in")


def test_the_same_ffmpeg_is_used_whatever_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_ffmpeg()
    monkeypatch.setenv("PATH", "/nowhere")

    assert find_ffmpeg() == found
