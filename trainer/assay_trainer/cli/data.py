"""`assay data`: videos and rows to datasets, and what is in them."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_trainer.cli.ending import attempt
from assay_trainer.cli.log_format import LogFormatOption, choose_log_format

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay_api import Dataset
    from assay_data.store import Store

data_app = typer.Typer(
    name="data", help="Make datasets out of videos, and look at them.", no_args_is_help=True
)


class Format(StrEnum):
    """Layouts of a source that `ingest` knows."""

    AUTO = "auto"
    FOLDERS = "folders"
    EASYR1 = "easyr1"
    FACTR1 = "factr1"
    FAKESV = "fakesv"
    FAKETT = "fakett"
    FSPO = "fspo"
    LLAMAFACTORY = "llamafactory"
    OPENRLHF = "openrlhf"
    SOPHIAVL = "sophiavl"
    SWIFT = "swift"
    VERL = "verl"


class Rule(StrEnum):
    """Who says whether a row is Train or Test."""

    RANDOM = "random"
    SOURCE = "source"
    TRAIN = "train"
    TEST = "test"


class Codec(StrEnum):
    """How frames are stored."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


@data_app.command()
def ingest(  # noqa: PLR0913  (options of a command)
    src: Annotated[
        str,
        typer.Argument(help="Folder or archive with real/ and fake/; or file, or folder, of rows."),
    ],
    out: Annotated[str, typer.Option(help="Folder, file:// or s3:// URL of the new dataset.")],
    source_format: Annotated[
        Format, typer.Option("--format", help="Layout of SRC; auto: found out.")
    ] = Format.AUTO,
    media: Annotated[
        list[str] | None,
        typer.Option(help="Rows: folder or archive of their media; may be given several times."),
    ] = None,
    clip_seconds: Annotated[
        float | None, typer.Option(help="Folders: cut videos into clips of this length.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames per clip, an even number.")] = 16,
    fps: Annotated[float, typer.Option(help="Frames per second that are sampled.")] = 4.0,
    max_pixels: Annotated[int, typer.Option(help="Most pixels of a frame.")] = 147_456,
    codec: Annotated[
        Codec, typer.Option(help="How frames are stored; png and webp: without loss.")
    ] = Codec.JPEG,
    split: Annotated[
        Rule, typer.Option(help="Who divides: chance, the source, or all rows in one part.")
    ] = Rule.RANDOM,
    test_fraction: Annotated[float, typer.Option(help="random: share for the test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="random: seed of the division.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write counts and everything dropped, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Make a dataset out of videos or annotated rows; what is dropped is counted by reason."""
    from assay_data.store import open_store

    store = _empty_store(open_store(out), out)
    plan = {"count": frames, "fps": fps, "maxPixels": max_pixels, "codec": _CODECS[codec]}
    division = {"rule": split.value.title(), "testFraction": test_fraction, "seed": seed}
    source = _source(src, source_format, media or [], clip_seconds)
    dataset = _dataset({"source": source, "frames": plan, "split": division})
    _build(dataset, store, report, as_json)


def _empty_store(store: "Store", out: str) -> "Store":
    """Return the store; raise InvalidInput if it holds a finished dataset."""
    from assay_api import InvalidInput
    from assay_data.store import MANIFEST

    if store.exists(MANIFEST):
        raise InvalidInput(
            f"--out {out} holds a finished dataset, which does not change: choose another folder, "
            "or delete this one first"
        )
    return store


def _build(dataset: "Dataset", store: "Store", report: Path | None, as_json: bool) -> None:
    """Make the dataset; print its counts, and write them to the report with everything dropped."""
    from assay_data.ingest import build_dataset
    from assay_data.ingest.job import num_workers
    from assay_data.progress import report_progress

    what = "rows" if dataset.spec.source.rows else "videos"
    result = build_dataset(dataset, store, num_workers(), report_progress(what))
    counts = {"url": store.url, "digest": result.digest, **result.info}
    if report is not None:
        drops = [{"source": d.source, "reason": d.reason, "detail": d.detail} for d in result.drops]
        _write(report, json.dumps({**counts, "dropped_files": drops}, indent=2).encode())
    _print(counts, as_json)


_CODECS = {Codec.JPEG: "Jpeg", Codec.PNG: "Png", Codec.WEBP: "WebP"}


def _source(
    src: str, source_format: Format, media: list[str], clip_seconds: float | None
) -> dict[str, Any]:
    """Return the resource's source that the options mean.

    Raises:
        InvalidInput: an option does not go with the layout.
    """
    from assay_api import InvalidInput
    from assay_api.dataset import RowsFormat
    from assay_data.sources.files import holds_rows
    from assay_data.store import local_copy

    formats = {found.value.lower(): found.value for found in RowsFormat}
    is_auto = source_format is Format.AUTO
    if source_format is Format.FOLDERS or (is_auto and not holds_rows(local_copy(src))):
        if media:
            raise InvalidInput(f"--media {media[0]}: {src} holds videos, no rows: leave it out")
        return {"folder": {"uri": src, "clipSeconds": clip_seconds}}
    if clip_seconds is not None:
        raise InvalidInput(f"--clip-seconds {clip_seconds:g}: {src} holds rows: leave it out")
    return {"rows": {"uri": src, "format": formats[source_format.value], "media": media}}


@data_app.command()
def build(
    orders: Annotated[Path, typer.Argument(help="Orders, as the operator wrote them.")],
    log_format: LogFormatOption = None,
) -> None:
    """Make the dataset of a Dataset resource: the container's entry point.

    Raises:
        InvalidInput: the file holds no orders, or the source cannot become a dataset.
    """
    from pydantic import ValidationError

    from assay_api import InvalidInput, ResolvedDatasetJob
    from assay_data.ingest.job import run_dataset_job
    from assay_trainer.process import ProcessName, set_up_process

    choose_log_format(log_format)
    try:
        job = ResolvedDatasetJob.model_validate_json(orders.read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"{orders}: no orders of a dataset: {error}") from error
    set_up_process(ProcessName("dataset", job.dataset.metadata.name, "dataset"))
    with attempt():
        run_dataset_job(job, _progress_file(job.output))


def _progress_file(output: str) -> "Callable[[int, int], None]":
    """Return a function that keeps the store's progress.json up to date, once a second."""
    import time

    from assay_data.progress import report_progress
    from assay_data.store import open_store
    from assay_trainer.metrics_log import write_progress

    store, last = open_store(output), time.monotonic()
    tell = report_progress("videos")

    def note(done: int, total: int) -> None:
        nonlocal last
        tell(done, total)
        if done >= total or time.monotonic() - last >= 1:
            last = time.monotonic()
            write_progress(store, done, total, "videos", {})

    return note


@data_app.command()
def show(
    url: Annotated[str, typer.Argument(help="Folder, file:// or s3:// URL of a dataset.")],
    contact_sheet: Annotated[
        Path | None,
        typer.Option(help="Write a PNG picture: frames of clips of every class and generator."),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Clips on it; unset: 12, or one of each generator if more."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of clips.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its SHA-256 first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Print what is in a dataset: classes, generators, lengths, sizes, tokens, drops.

    Raises:
        InvalidInput: the picture cannot be written where it is wanted, or there are no frames.
    """
    from dataclasses import asdict

    from assay_api import InvalidInput
    from assay_data.dataset import ClipDataset, verify_dataset
    from assay_data.dataset.contact_sheet import choose_clips, draw_contact_sheet, png
    from assay_data.dataset.overview import open_overview
    from assay_data.store import open_store
    from assay_trainer.cli.overview_text import overview_text

    if contact_sheet is not None:
        _check_picture(contact_sheet)
    store = open_store(url)
    if verify:
        verify_dataset(store)
    dataset = ClipDataset.open(store)
    overview = open_overview(store, dataset)
    if contact_sheet is not None:
        if not overview.num_with_frames:
            raise InvalidInput("--contact-sheet: no row of the dataset has frames: leave it out")
        shown = choose_clips(dataset.rows(), clips, seed)
        _write(contact_sheet, png(draw_contact_sheet(dataset, shown)))
    if as_json:
        known = {"url": store.url, "digest": dataset.digest, **dataset.info}
        print(json.dumps(known | {"overview": asdict(overview)}, indent=2))
    else:
        print(overview_text(store.url, dataset.digest, overview))


def _check_picture(path: Path) -> None:
    """Refuse a path that cannot become a picture."""
    from assay_api import InvalidInput
    from assay_trainer.cli.output_file import check_output_file

    check_output_file("--contact-sheet", path, "sheet.png")
    if path.suffix.lower() != ".png":
        raise InvalidInput(f"--contact-sheet {path}: must end in .png, the kind that is written")


@data_app.command()
def clean(
    url: Annotated[str, typer.Argument(help="Folder, file:// or s3:// URL of a store.")],
    older_than_hours: Annotated[
        float, typer.Option(help="Leave what was begun later: it may still be under way.")
    ] = 24.0,
) -> None:
    """Remove what interrupted publications left in a store; nothing that a manifest names."""
    from assay_data.store import open_store

    gone = open_store(url).collect_garbage(older_than_hours * 3600)
    for key in gone:
        print(key)
    print(f"{len(gone)} files removed", file=sys.stderr)


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
    """Write every video as 1024x1024, 5 s, 24 fps, HEVC, BT.709 with 10 bits, without sound."""
    from assay_data.drops import describe_reasons
    from assay_data.ingest.job import num_workers
    from assay_data.progress import report_progress
    from assay_data.video.standard import Standard
    from assay_data.video.standardise import standardise_folder

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
    from assay_data.ingest.job import num_workers
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
    print(
        f"rows       {counts['num_rows']} of {counts['num_videos']} videos or questions, "
        f"{counts['num_rows_with_frames']} with frames"
    )
    print(f"tasks      {_words(counts['rows_by_task'])}")
    for split, labels in counts["rows_by_split_and_label"].items():
        print(f"{split.lower():10} {_words(labels)}")
    print(f"generators {_words(counts['rows_by_generator'])}")
    if counts["num_rows_with_frames"]:
        print(f"seconds    {lengths['min']} to {lengths['max']}, median {lengths['median']}")
    what = "rows and files" if counts["spec"]["source"]["rows"] else "files"
    print(f"dropped    {counts['num_dropped']} {what}: {_words(counts['drops']) or 'none'}")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
