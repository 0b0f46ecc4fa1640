import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from assay_api import InvalidInput
from assay_data.video import probe
from assay_trainer.cli.data import data_app


@pytest.fixture
def assay_data() -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(data_app, [str(argument) for argument in arguments])

    return run


def test_ingest_then_show(
    assay_data: Callable[..., Result], four_videos: Path, tmp_path: Path
) -> None:
    out, report, sheet = tmp_path / "out", tmp_path / "report.json", tmp_path / "sheet.png"
    (four_videos / "real" / "bad.mp4").write_text("no video")

    made = assay_data("ingest", four_videos, "--out", out, "--report", report, "--json")
    shown = assay_data("show", out, "--json", "--contact-sheet", sheet)
    words = assay_data("show", out)

    assert made.exit_code == shown.exit_code == words.exit_code == 0, made.output
    counts = json.loads(made.stdout)
    assert counts == json.loads(shown.stdout)
    assert counts["rows_by_generator"] == {"fake": 1, "real": 2, "sora": 1}
    assert "dropped    1 files: Corrupt 1" in words.stdout
    assert "5 of 5 videos" in made.stderr
    dropped = json.loads(report.read_text())["dropped_files"]
    assert [drop["source"] for drop in dropped] == ["real/bad.mp4"]
    with Image.open(sheet) as picture:
        assert picture.size == (4 * 168, 4 * 184)


def test_a_finished_dataset_is_not_overwritten(
    assay_data: Callable[..., Result], four_videos: Path, tmp_path: Path
) -> None:
    assay_data("ingest", four_videos, "--out", tmp_path / "out")

    again = assay_data("ingest", four_videos, "--out", tmp_path / "out")

    assert isinstance(again.exception, InvalidInput)
    assert "holds a finished dataset" in str(again.exception)


def test_a_wrong_option_is_named(
    assay_data: Callable[..., Result], four_videos: Path, tmp_path: Path
) -> None:
    result = assay_data("ingest", four_videos, "--out", tmp_path / "out", "--frames", 1)

    assert isinstance(result.exception, InvalidInput)
    assert "count" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_render_writes_what_ingest_reads(assay_data: Callable[..., Result], tmp_path: Path) -> None:
    rendered = assay_data("render", tmp_path / "videos", "--videos", 8)
    made = assay_data("ingest", tmp_path / "videos", "--out", tmp_path / "out", "--json")

    assert rendered.exit_code == made.exit_code == 0, made.output
    counts = json.loads(made.stdout)
    assert (counts["num_videos"], counts["num_dropped"]) == (8, 0)
    again = assay_data("render", tmp_path / "videos", "--videos", 8)
    assert isinstance(again.exception, InvalidInput)


def test_standardise_says_what_it_dropped(
    assay_data: Callable[..., Result], clip: Callable[..., Path], tmp_path: Path
) -> None:
    clip(tmp_path / "in" / "a.mp4", seconds=0.25)
    (tmp_path / "in" / "b.mp4").write_text("no video")

    result = assay_data("standardise", tmp_path / "in", tmp_path / "out")

    assert result.exit_code == 0
    assert "1 videos in" in result.stdout
    assert "dropped: Corrupt 1" in result.stdout
    assert "dropped b.mp4: Corrupt" in result.stderr


def test_standardise_takes_size_length_and_rate(
    assay_data: Callable[..., Result], clip: Callable[..., Path], tmp_path: Path
) -> None:
    clip(tmp_path / "in" / "a.mp4", seconds=2.0)
    options = ("--width-pixels", 64, "--height-pixels", 48, "--seconds", 1, "--fps", 12)

    result = assay_data("standardise", tmp_path / "in", tmp_path / "out", *options)
    wrong = assay_data("standardise", tmp_path / "in", tmp_path / "o", "--width-pixels", 65)

    assert result.exit_code == 0, result.output
    info = probe(tmp_path / "out" / "a.mp4")
    assert (info.width, info.height, info.fps, info.duration_seconds) == (64, 48, 12.0, 1.0)
    assert isinstance(wrong.exception, InvalidInput)
    assert "width_pixels 65: must be even" in str(wrong.exception)
    assert not (tmp_path / "o").exists()
