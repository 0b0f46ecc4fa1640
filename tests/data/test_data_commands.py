import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from assay_api import InvalidInput, StoreError
from assay_data.video.reading import probe
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
    told = json.loads(shown.stdout)
    assert told.items() >= counts.items()
    assert told["overview"]["frame_sizes"] == {"84x56": 4}
    assert counts["rows_by_generator"] == {"fake": 1, "real": 2, "sora": 1}
    assert "dropped: 1 file\n  Corrupt 1\n    real/bad.mp4: PyAV: " in words.stdout
    assert "5 of 5 videos" in made.stderr
    dropped = json.loads(report.read_text())["dropped_files"]
    assert [drop["source"] for drop in dropped] == ["real/bad.mp4"]
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "is a folder; give the name of a file, e.g. sheet.png"),
        ("missing/sheet.png", "missing does not exist; create it first"),
        ("file/sheet.png", "file is a file; choose another folder"),
        ("sheet.jpg", "must end in .png"),
    ],
)
def test_a_place_where_no_picture_can_be_is_refused_first(
    assay_data: Callable[..., Result], tmp_path: Path, place: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")

    result = assay_data("show", tmp_path / "nowhere", "--contact-sheet", tmp_path / place)

    assert isinstance(result.exception, InvalidInput)
    assert f"--contact-sheet {tmp_path / place}" in str(result.exception)
    assert message in str(result.exception)


def test_a_changed_file_of_the_same_size_is_found_when_asked_for(
    assay_data: Callable[..., Result], four_videos: Path, tmp_path: Path
) -> None:
    assay_data("ingest", four_videos, "--out", tmp_path / "out")
    assert assay_data("show", tmp_path / "out", "--verify").exit_code == 0
    shard = tmp_path / "out/data/train-00000-of-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)

    result = assay_data("show", tmp_path / "out", "--verify")

    assert isinstance(result.exception, StoreError)
    assert f"{shard} has SHA-256" in str(result.exception)
    assert "copy it again, or make it again" in str(result.exception)


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


def write_rows(path: Path, count: int) -> Path:
    rows = [{"prompt": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_told_from_videos(assay_data: Callable[..., Result], tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "sums.jsonl", 10), tmp_path / "out"

    made = assay_data("ingest", source, "--out", out, "--split", "test")
    shown = assay_data("show", out)

    assert made.exit_code == shown.exit_code == 0, made.output
    assert "10 of 10 rows" in made.stderr
    assert "10 about 10 videos or questions, 0 with frames" in shown.stdout
    assert "classes  unlabelled 10" in shown.stdout
    assert "visual tokens" not in shown.stdout
    sheet = assay_data("show", out, "--contact-sheet", tmp_path / "sheet.png")
    assert isinstance(sheet.exception, InvalidInput)


def test_a_format_may_be_named(assay_data: Callable[..., Result], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "sums.jsonl", 10)

    right = assay_data("ingest", source, "--out", tmp_path / "a", "--format", "easyr1", "--json")
    wrong = assay_data("ingest", source, "--out", tmp_path / "b", "--format", "factr1")

    assert json.loads(right.stdout)["rows_by_task"] == {"question": 10}
    assert isinstance(wrong.exception, InvalidInput)
    assert "WrongColumns 10; the first: sums.jsonl:1: column image is missing" in str(
        wrong.exception
    )


def test_options_that_do_not_go_with_the_source_are_refused(
    assay_data: Callable[..., Result], four_videos: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "sums.jsonl", 2)

    cut = assay_data("ingest", rows, "--out", tmp_path / "a", "--clip-seconds", 2)
    media = assay_data("ingest", four_videos, "--out", tmp_path / "b", "--media", tmp_path)

    assert "--clip-seconds 2" in str(cut.exception)
    assert "--media" in str(media.exception)


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
