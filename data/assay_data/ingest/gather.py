"""What a source has to offer: its videos or rows, each with its media, and what is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay_api.dataset import DatasetSpec, FolderSource, RowsSource, SplitRule
from assay_data.drops import Drop
from assay_data.ingest.items import Item, RowItem, VideoItem
from assay_data.progress import Progress
from assay_data.sources.archives import extract, is_archive, list_archive, safe_path
from assay_data.sources.folders import read_lessons, scan_folder
from assay_data.sources.media import MediaLibrary, Missing
from assay_data.sources.scan import FoundRow, scan_rows
from assay_data.store import local_copy
from assay_data.synthetic import rendered_folder
from assay_data.video.prepare import VideoTask


@dataclass(frozen=True, slots=True)
class Gathered:
    """The content of a source."""

    items: tuple[Item, ...]
    drops: tuple[Drop, ...]
    num_rendered: int = 0
    """Videos that were drawn before, which progress counts too."""
    one_label_each: frozenset[str] = frozenset()
    """Sources of rows whose label speaks of the video itself."""


def gather(spec: DatasetSpec, work: Path, workers: int, progress: Progress) -> Gathered:
    """Return what a dataset is to be made of; synthetic videos are rendered first.

    Args:
        spec: of the dataset.
        work: folder for what must be rendered or unpacked.
        workers: rendering processes at the same time.
        progress: is told after every rendered video.

    Raises:
        InvalidInput: the source is missing, or has nothing usable.
        StoreError: the work folder cannot be written.
    """
    if spec.source.rows is not None:
        return _gather_rows(spec, spec.source.rows, work)
    if spec.source.folder is not None:
        return _gather_folder(spec, spec.source.folder, work)
    synthetic = spec.source.synthetic
    assert synthetic is not None
    total = 2 * synthetic.num_videos
    root = rendered_folder(synthetic, work, workers, lambda done, _: progress(done, total))
    return _gather_videos(spec, FolderSource(uri="-"), root, synthetic.num_videos)


def _gather_folder(spec: DatasetSpec, folder: FolderSource, work: Path) -> Gathered:
    """Return the videos of a folder, or of an archive that is unpacked first."""
    root = local_copy(folder.uri)
    if not (is_archive(root) and root.is_file()):
        return _gather_videos(spec, folder, root)
    listing = list_archive(root)
    unpacked = work / "unpacked"
    unpacked.mkdir(parents=True, exist_ok=True)  # It may hold nothing that is taken.
    wanted = {name: unpacked / safe_path(name) for name in listing.sizes_bytes}
    refused = (*listing.drops, *extract(root, wanted))
    return _gather_videos(spec, folder, unpacked, refused=refused, archive=root)


def _gather_videos(
    spec: DatasetSpec,
    cut: FolderSource,
    root: Path,
    num_rendered: int = 0,
    refused: Sequence[Drop] = (),
    archive: Path | None = None,
) -> Gathered:
    scan = scan_folder(root, spec.split.rule is SplitRule.RANDOM, refused, archive)
    examples = read_lessons(root)
    items = tuple(
        VideoItem(
            file,
            VideoTask(file.path, spec.frames, cut.clip_seconds, cut.max_clips_per_video),
            examples.get(file.source, ()),
        )
        for file in scan.files
    )
    return Gathered(items, scan.drops, num_rendered)


def _gather_rows(spec: DatasetSpec, source: RowsSource, work: Path) -> Gathered:
    scan = scan_rows(source, spec.split.rule, local_copy(source.uri), work / "pictures")
    library = MediaLibrary(source.media, work / "media")
    wanted = (_references(row) for row in scan.rows) if source.media else ()
    found = library.find(reference for references in wanted for reference in references)
    items: list[Item] = []
    drops = [*scan.drops, *library.drops]
    for row in scan.rows:
        paths = _paths(row, found)
        if isinstance(paths, Missing):
            drops.append(Drop(row.source, paths.reason, paths.detail))
        else:
            items.append(RowItem(row, paths, spec.frames))
    strict = frozenset(row.source for row in scan.rows if row.row.labels_video)
    return Gathered(tuple(items), tuple(drops), one_label_each=strict)


def _references(row: FoundRow) -> list[str]:
    """Return the media of a row that must be looked up."""
    media = zip(row.row.media, row.files, strict=True)
    return [medium.reference for medium, file in media if file is None]


def _paths(row: FoundRow, found: dict[str, Path | Missing]) -> tuple[Path, ...] | Missing:
    """Return the media of a row on this machine, none if they are not looked up."""
    paths: list[Path] = []
    for medium, file in zip(row.row.media, row.files, strict=True):
        place = file or found.get(medium.reference)
        if isinstance(place, Missing):
            return place
        if place is None:
            return ()
        paths.append(place)
    return tuple(paths)
