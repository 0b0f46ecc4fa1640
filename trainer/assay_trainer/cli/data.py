"""`assay data`: videos to datasets, and what is in them."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay_api import Dataset
    from assay_data.dataset import ClipDataset

data_app = typer.Typer(
    name="data", help="Make datasets out of videos, and look at them.", no_args_is_help=True
)

SHEET_CLIPS, SHEET_FRAMES, SHEET_WIDTH = 12, 4, 168
"""The contact sheet: clips, frames of each, and pixels of a frame's width."""


class Format(StrEnum):
    """Layouts of a source that `ingest` knows."""

    AUTO = "auto"
    FOLDERS = "folders"


@data_app.command()
def ingest(  # noqa: PLR0913  (options of a command)
    src: Annotated[Path, typer.Argument(help="Folder that holds real/ and fake/.")],
    out: Annotated[str, typer.Option(help="Folder or file:// URL of the new dataset.")],
    source_format: Annotated[
        Format, typer.Option("--format", help="Layout of SRC; auto: found out.")
    ] = Format.AUTO,
    clip_seconds: Annotated[
        float | None, typer.Option(help="Cut videos into clips of this length; unset: do not.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames per clip, an even number.")] = 16,
    fps: Annotated[float, typer.Option(help="Frames per second that are sampled.")] = 4.0,
    max_pixels: Annotated[int, typer.Option(help="Most pixels of a frame.")] = 147_456,
    test_fraction: Annotated[float, typer.Option(help="Share of videos for the test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the division.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write counts and every dropped file, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Make a dataset out of a folder of videos; dropped files are counted by reason."""
    from assay_api import InvalidInput
    from assay_data.ingest import build_dataset
    from assay_data.job import num_workers
    from assay_data.progress import report_progress
    from assay_data.store import MANIFEST, open_store

    assert source_format in (Format.AUTO, Format.FOLDERS)
    store = open_store(out)
    if store.exists(MANIFEST):
        raise InvalidInput(
            f"--out {out} holds a finished dataset, which does not change: choose another folder, "
            "or delete this one first"
        )
    dataset = _dataset(
        {
            "source": {"folder": {"uri": str(src), "clipSeconds": clip_seconds}},
            "frames": {"count": frames, "fps": fps, "maxPixels": max_pixels},
            "split": {"testFraction": test_fraction, "seed": seed},
        }
    )
    result = build_dataset(dataset, store, num_workers(), report_progress("videos"))
    counts = {"url": store.url, "digest": result.digest, **result.info}
    if report is not None:
        drops = [{"source": d.source, "reason": d.reason, "detail": d.detail} for d in result.drops]
        _write(report, json.dumps({**counts, "dropped_files": drops}, indent=2).encode())
    _print(counts, as_json)


@data_app.command()
def build(
    orders: Annotated[Path, typer.Argument(help="Orders, as the operator wrote them.")],
) -> None:
    """Make the dataset of a Dataset resource: the container's entry point.

    Raises:
        InvalidInput: the file holds no orders, or the source cannot become a dataset.
    """
    from pydantic import ValidationError

    from assay_api import InvalidInput, ResolvedDatasetJob
    from assay_data.job import run_dataset_job

    try:
        job = ResolvedDatasetJob.model_validate_json(orders.read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"{orders}: no orders of a dataset: {error}") from error
    run_dataset_job(job, _progress_file(job.output))


def _progress_file(output: str) -> "Callable[[int, int], None]":
    """Return a function that keeps the store's progress.json up to date, once a second."""
    import time

    from assay_data.store import open_store
    from assay_trainer.metrics_log import write_progress

    store, last = open_store(output), time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= 1:
            last = time.monotonic()
            write_progress(store, done, total, "videos", {})

    return note


@data_app.command()
def show(
    url: Annotated[str, typer.Argument(help="Folder or file:// URL of a dataset.")],
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Write a picture with frames of some clips.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Print what is in a dataset: classes, generators, durations, drops."""
    from assay_data.dataset import ClipDataset
    from assay_data.store import open_store

    store = open_store(url)
    dataset = ClipDataset.open(store)
    if contact_sheet is not None:
        _write(contact_sheet, _contact_sheet(dataset))
    _print({"url": store.url, "digest": dataset.digest, **dataset.info}, as_json)


@data_app.command()
def standardise(
    src: Annotated[Path, typer.Argument(help="Folder of videos.")],
    out: Annotated[Path, typer.Argument(help="Folder for the standardised ones.")],
    width_pixels: Annotated[int, typer.Option(help="Width, an even number.")] = 1024,
    height_pixels: Annotated[int, typer.Option(help="Height, an even number.")] = 1024,
    seconds: Annotated[float, typer.Option(help="Cut off what is longer.")] = 5.0,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 24.0,
    timeout_seconds: Annotated[float, typer.Option(help="Drop what takes longer.")] = 600.0,
) -> None:
    """Write every video as 1024x1024, 5 s, 24 fps, HEVC with 10 bits, without sound."""
    from assay_data.drops import describe_reasons
    from assay_data.job import num_workers
    from assay_data.progress import report_progress
    from assay_data.standardise import Standard, standardise_folder

    standard = Standard(width_pixels, height_pixels, seconds, fps, timeout_seconds)
    # One x265 keeps several cores busy.
    workers = max(1, num_workers() // 4)
    written, drops = standardise_folder(src, out, workers, report_progress("videos"), standard)
    for drop in drops:
        print(f"dropped {drop.source}: {drop.reason}: {drop.detail}", file=sys.stderr)
    print(f"{written} videos in {out}; dropped: {describe_reasons(drops)}")


@data_app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder for real/, fake/ and lessons.json.")],
    videos: Annotated[int, typer.Option(help="How many, half of them fake.")] = 480,
    width_pixels: Annotated[int, typer.Option(help="Width and height.")] = 112,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 0,
) -> None:
    """Write synthetic videos, in the folders that `ingest` reads."""
    from assay_api import InvalidInput
    from assay_data.job import num_workers
    from assay_data.progress import report_progress
    from assay_data.synthetic import write_synthetic

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"OUT {out} is not an empty folder: choose another, or delete it first")
    synthetic = {"numVideos": videos, "widthPixels": width_pixels, "seed": seed}
    source = _dataset({"source": {"synthetic": synthetic}}).spec.source
    assert source.synthetic is not None
    write_synthetic(source.synthetic, out, num_workers(), report_progress("videos"))
    print(f"{videos} videos in {out}")


def _dataset(spec: dict[str, Any]) -> "Dataset":
    """Return the resource that the options mean."""
    from pydantic import ValidationError

    from assay_api import Dataset, InvalidInput
    from assay_api.problems import explain_invalid

    try:
        return Dataset.model_validate({"metadata": {"name": "ingest"}, "spec": spec})
    except ValidationError as error:
        raise InvalidInput("options: " + "; ".join(explain_invalid(Dataset, error))) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file that the user asked for."""
    from assay_data.atomic import replacing, world_errors

    with world_errors(path, "cannot write"), replacing(path) as temporary:
        temporary.write_bytes(data)


def _print(counts: dict[str, Any], as_json: bool) -> None:
    """Print a dataset's counts for machines or for people."""
    if as_json:
        print(json.dumps(counts, indent=2))
        return
    lengths = counts["clip_seconds"]
    print(f"dataset    {counts['url']}")
    print(f"digest     {counts['digest']}")
    print(f"clips      {counts['num_rows']} of {counts['num_videos']} videos")
    for split, labels in counts["rows_by_split_and_label"].items():
        print(f"{split.lower():10} {_words(labels)}")
    print(f"generators {_words(counts['rows_by_generator'])}")
    print(f"seconds    {lengths['min']} to {lengths['max']}, median {lengths['median']}")
    print(f"dropped    {counts['num_dropped']} files: {_words(counts['drops']) or 'none'}")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _contact_sheet(dataset: "ClipDataset") -> bytes:
    """Return a PNG file: a line of frames for each of some clips, evenly chosen."""
    import io

    from PIL import Image, ImageDraw

    rows = dataset.rows()
    rows = rows[:: max(1, len(rows) // SHEET_CLIPS)][:SHEET_CLIPS]
    line = SHEET_WIDTH + 16
    sheet = Image.new("RGB", (SHEET_FRAMES * SHEET_WIDTH, len(rows) * line), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in zip(range(0, line * len(rows), line), rows, strict=True):
        title = f"{row.row_id}  {row.label}, {row.generator}, {row.split}"
        draw.text((4, y + 2), title, fill="black")
        clip = dataset.frames(row.row_id)
        for position, frame in enumerate(clip[:: max(1, len(clip) // SHEET_FRAMES)][:SHEET_FRAMES]):
            picture = Image.fromarray(frame)
            picture.thumbnail((SHEET_WIDTH, SHEET_WIDTH))
            sheet.paste(picture, (position * SHEET_WIDTH, y + 16))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
