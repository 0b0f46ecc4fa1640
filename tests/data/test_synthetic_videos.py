import json
import random
from pathlib import Path

import numpy as np
import pytest

from assay_api import Dataset
from assay_api.dataset import SyntheticSource
from assay_data.dataset import ClipDataset
from assay_data.ingest import build_dataset
from assay_data.lessons import Attributes
from assay_data.store import FolderStore
from assay_data.synthetic import COLOR_RGB, render, write_synthetic, write_video
from assay_data.video.reading import decode_frames, probe

SOURCE = SyntheticSource(num_videos=8, width_pixels=84)


def frames_of(**changes: str) -> np.ndarray:
    values = {"color": "red", "shape": "disc", "direction": "right"}
    seen = Attributes(**({"texture": "smooth", "light": "steady"} | values | changes))
    return render(seen, SOURCE, random.Random(3)).astype(np.float64)


def redness(frames: np.ndarray) -> np.ndarray:
    """Return where the red shape is, [time, height, width]."""
    return np.asarray(frames[..., 0] - frames[..., 1:].max(axis=-1) > 80)


def test_a_video_has_its_length_and_size() -> None:
    assert frames_of().shape == (32, 84, 84, 3)


@pytest.mark.parametrize(
    "direction, step", [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0)), ("down", (1, 0))]
)
def test_the_shape_moves_as_its_attribute_says(direction: str, step: tuple[int, int]) -> None:
    # Positions on a circle: the mean angle of the shape's pixels, since it may wrap around.
    masks = redness(frames_of(direction=direction))
    moved = []
    for axis in (1, 2):
        turns = np.exp(2j * np.pi * np.arange(84) / 84)
        centres = (masks.sum(axis=3 - axis) * turns).sum(axis=1)
        moved.append(np.angle(centres[1:] / centres[:-1]).sum() * 84 / (2 * np.pi))

    along, across = (moved[0], moved[1]) if step[0] else (moved[1], moved[0])
    assert along * sum(step) > 0.2 * 84
    assert abs(across) < 1.5


def test_the_shape_has_its_colour() -> None:
    frames = frames_of(color="red")

    assert frames[redness(frames)].mean(axis=0) == pytest.approx(COLOR_RGB["red"], abs=6)


def checkerboard(frames: np.ndarray) -> float:
    """Return the mean amplitude of a checkerboard with cells of 4 pixels."""
    cells = np.add.outer(np.arange(84) // 4, np.arange(84) // 4) % 2 * 2 - 1
    return float((frames.mean(axis=(0, 3)) * cells).mean())


def jump(frames: np.ndarray) -> float:
    """Return the relative change of brightness between samples a quarter of a second apart."""
    brightness = frames[::2].mean(axis=(1, 2, 3))
    return float(np.abs(np.diff(brightness) / brightness[:-1]).mean())


def test_a_grid_shows_as_texture_and_a_flicker_as_light(tmp_path: Path) -> None:
    kinds = {
        "real": frames_of(),
        "grid": frames_of(texture="gridded"),
        "flicker": frames_of(light="flickering"),
    }
    for name, frames in kinds.items():
        # As a model will see it: through the codec.
        write_video(tmp_path / f"{name}.mp4", frames.astype(np.uint8), SOURCE.fps)
        times = [i / 8 for i in range(32)]
        kinds[name] = decode_frames(tmp_path / f"{name}.mp4", times).astype(np.float64)

    assert abs(checkerboard(kinds["real"])) < 2 < 10 < checkerboard(kinds["grid"])
    assert abs(checkerboard(kinds["flicker"])) < 2
    assert jump(kinds["real"]) < 0.02 < 0.2 < jump(kinds["flicker"])
    assert jump(kinds["grid"]) < 0.02


def test_videos_are_in_the_papers_format_and_the_same_every_time(tmp_path: Path) -> None:
    frames = frames_of().astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames, 8.0)
    write_video(tmp_path / "b.mp4", frames, 8.0)

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    info = probe(tmp_path / "a.mp4")
    assert (info.codec, info.pixel_format, info.fps) == ("hevc", "yuv420p10le", 8.0)
    decoded = decode_frames(tmp_path / "a.mp4", [i / 8 for i in range(32)])
    assert np.abs(decoded.astype(int) - frames).mean() < 4


def test_a_folder_has_both_classes_and_lessons(tmp_path: Path) -> None:
    write_synthetic(SOURCE, tmp_path, 2, lambda done, total: None)

    entries = json.loads((tmp_path / "lessons.json").read_text())
    assert sorted(entries) == [
        "fake/flicker/0000.mp4",
        "fake/flicker/0001.mp4",
        "fake/grid/0000.mp4",
        "fake/grid/0001.mp4",
        *(f"real/000{i}.mp4" for i in range(4)),
    ]
    assert all((tmp_path / name).is_file() for name in entries)
    for name, entry in entries.items():
        assert entry["attributes"]["texture"] == ("gridded" if "grid" in name else "smooth")
        assert entry["attributes"]["light"] == ("flickering" if "flick" in name else "steady")


def test_a_synthetic_dataset_has_its_lessons(tmp_path: Path) -> None:
    spec = {"source": {"synthetic": SOURCE.model_dump()}}
    dataset = Dataset.model_validate({"metadata": {"name": "shapes"}, "spec": spec})
    seen: list[tuple[int, int]] = []

    reports = [
        build_dataset(
            dataset, FolderStore(tmp_path / str(workers)), workers, lambda *p: seen.append(p)
        )
        for workers in (1, 2)
    ]

    assert reports[0].digest == reports[1].digest
    assert seen[-1] == (16, 16)
    rows = ClipDataset.open(FolderStore(tmp_path / "1")).rows()
    assert len(rows) == 8
    assert {row.generator for row in rows} == {"real", "grid", "flicker"}
    for row in rows:
        assert [example.task for example in row.examples] == ["Describe"] * 2 + ["Judge"] * 2
        assert (row.width, row.height, row.sampled_fps) == (84, 84, 4.0)
        artefact = {"grid": "gridded", "flicker": "flickering"}.get(row.generator, "clean")
        assert f"The picture is {artefact}." in row.examples[0].response
