"""A picture is a clip that shows one frame, twice: two frames are the least that make tokens."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay_api import Dataset, FramePlan
from assay_data.dataset import ClipDataset, decode_image
from assay_data.drops import DropReason, UnusableVideo
from assay_data.ingest import build_dataset
from assay_data.store import FolderStore
from assay_data.video.frames import visual_tokens
from assay_data.video.image import is_image, read_image
from assay_data.video.prepare import PreparedVideo, VideoTask, prepare_video


def picture() -> Image.Image:
    """Return 96 x 64 pixels: the upper left quarter light, the rest dark."""
    pixels = np.full((64, 96, 3), 30, dtype=np.uint8)
    pixels[:32, :48] = (220, 180, 60)
    return Image.fromarray(pixels)


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG file that declares a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png", "a.webp", "a.bmp", "A.PNG"])
def test_each_kind_of_picture_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture().save(path)

    assert is_image(path)
    frame = read_image(path)
    assert frame.shape == (64, 96, 3)
    assert np.abs(frame.astype(int) - np.asarray(picture())).mean() < 4


@pytest.mark.parametrize("orientation, turns", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / "a.jpg", exif=exif)

    frame = read_image(tmp_path / "a.jpg")

    expected = np.rot90(np.asarray(picture()), turns)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture().convert("L").convert("RGB").convert(mode).save(path)

    frame = read_image(path)

    assert frame.shape == (64, 96, 3)
    assert frame[:28, :44].mean() > frame[36:].mean() + 50


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    shades = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    Image.fromarray(shades).save(tmp_path / "a.png")

    frame = read_image(tmp_path / "a.png")

    assert np.array_equal(frame[..., 1], shades >> 8)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png").max() == 0


@pytest.mark.parametrize(
    "data, expected",
    [
        (png_of_size(20_000, 20_000), DropReason.TOO_MANY_PIXELS),
        (png_of_size(10_000, 10_000), DropReason.TOO_MANY_PIXELS),
        (png_of_size(100, 100), DropReason.CORRUPT),
        (png_of_size(0, 10), DropReason.CORRUPT),
        (b"\xff\xd8\xff\xe0 cut off", DropReason.CORRUPT),
        (b"RIFF\0\0\0\0WEBPVP8 ", DropReason.CORRUPT),
    ],
)
def test_bombs_and_broken_pictures_are_refused(
    tmp_path: Path, data: bytes, expected: DropReason
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)

    assert is_image(path)
    with pytest.raises(UnusableVideo) as caught:
        read_image(path)
    assert caught.value.reason is expected


def test_half_a_jpeg_is_refused(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])

    with pytest.raises(UnusableVideo):
        read_image(tmp_path / "a.jpg")


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    turned = picture().rotate(90)
    for name in ("a.webp", "a.png"):
        picture().save(tmp_path / name, save_all=True, append_images=[turned])
        with pytest.raises(UnusableVideo) as caught:
            read_image(tmp_path / name)
        assert caught.value.reason is DropReason.UNSUPPORTED


def test_a_picture_is_a_clip_of_one_frame_shown_twice(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")

    prepared = prepare_video(VideoTask(tmp_path / "a.png", FramePlan(fps=2.0), 5.0, 64))

    assert isinstance(prepared, PreparedVideo)
    (clip,) = prepared.clips
    assert (clip.start_seconds, clip.end_seconds, clip.sampled_fps) == (0.0, 0.0, 2.0)
    assert clip.timestamps_seconds == (0.0, 0.0)
    assert clip.images[0] == clip.images[1]
    assert decode_image(clip.images[0]).shape == (clip.height, clip.width, 3) == (56, 84, 3)
    assert visual_tokens(len(clip.images), clip.width, clip.height) == 6


def test_a_picture_is_kept_in_the_plans_codec(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")

    prepared = prepare_video(VideoTask(tmp_path / "a.png", FramePlan(codec="Png"), 5.0, 64))

    assert isinstance(prepared, PreparedVideo)
    assert prepared.clips[0].images[0].startswith(b"\x89PNG")


def test_pictures_and_videos_make_one_dataset(
    four_videos: Path, dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    picture().save(four_videos / "real/a.jpg")
    picture().rotate(180).save(four_videos / "fake/sora/p.webp")

    report = build_dataset(dataset(four_videos), FolderStore(tmp_path / "out"), 1, lambda *_: None)

    assert report.drops == ()
    opened = ClipDataset.open(FolderStore(tmp_path / "out"))
    shapes = {row.source: opened.frames(row.row_id).shape for row in opened.rows()}
    assert shapes["real/a.jpg"] == shapes["fake/sora/p.webp"] == (2, 56, 84, 3)
    assert shapes["real/a.mp4"][0] == 8
    assert len({row.row_id for row in opened.rows()}) == 6


def test_one_frame_and_the_same_frame_twice_are_the_same_to_the_processor() -> None:
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    frame = np.moveaxis(np.asarray(picture().resize((84, 56))), 2, 0)
    process = Qwen2VLVideoProcessor()
    bounds = {"shortest_edge": 784, "longest_edge": 10**8}

    once, twice = (
        process(
            videos=[np.stack([frame] * count)],
            do_sample_frames=False,
            size=bounds,
            return_tensors="pt",
        )
        for count in (1, 2)
    )

    assert once["video_grid_thw"].tolist() == twice["video_grid_thw"].tolist() == [[1, 4, 6]]
    assert (once["pixel_values_videos"] == twice["pixel_values_videos"]).all()
