"""Making a dataset: videos in, counted drops, a split by video, published shards out.

Videos are taken in chunks of a fixed size in a fixed order, so that the result does not depend on
the number of workers. A finished chunk stays in the store's work folder under the digest of what it
was made from: a run that was killed goes on after its last chunk.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from assay_api import Dataset, InvalidInput
from assay_api.dataset import DatasetSpec, FolderSource
from assay_api.digest import sha256_of
from assay_data.atomic import world_errors, write_json
from assay_data.dataset import DROPS, INFO
from assay_data.drops import Drop, DropReason, count_reasons, describe_reasons
from assay_data.isolation import Failure, FailureKind, IsolatedPool
from assay_data.lessons import Example
from assay_data.prepare import PreparedVideo, Unusable, VideoTask, prepare_video
from assay_data.shards import ClipRow, read_clips, read_drops, read_rows, write_shard
from assay_data.source import LABELS, Scan, SourceFile, read_lessons, scan_folder
from assay_data.split import split_videos
from assay_data.store import Store, local_path
from assay_data.synthetic import rendered_folder

Progress = Callable[[int, int], None]
"""Is told how many videos are done, and how many there are."""

VIDEOS_PER_CHUNK = 64
_FORMAT = 1
"""Counts changes of what a chunk contains; part of its digest."""
_FAILURES = {
    FailureKind.TIMEOUT: DropReason.TIMEOUT,
    FailureKind.OUT_OF_MEMORY: DropReason.OUT_OF_MEMORY,
    FailureKind.CRASHED: DropReason.DECODER_CRASHED,
}

_Outcome = PreparedVideo | Unusable | Failure


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of a source."""

    digest: str
    """SHA-256 of the dataset's manifest."""
    info: dict[str, Any]
    """Content of dataset.json: spec and counts."""
    drops: tuple[Drop, ...]
    """Every file that is not in the dataset."""


def build_dataset(dataset: Dataset, store: Store, workers: int, progress: Progress) -> IngestReport:
    """Make the dataset and publish it at the root of the store; return what became of the files.

    Args:
        dataset: the resource.
        store: where the dataset goes; what was published there before is replaced.
        workers: decoding processes at the same time; the result does not depend on it.
        progress: is told after every video.

    Raises:
        InvalidInput: the source is missing, empty, or lacks usable videos of a class; the store is
            left as it was.
        StoreError: the store cannot be written; the finished chunks are kept for the next run.
    """
    spec = dataset.spec
    try:
        root, rendered = _source_folder(spec, store, workers, progress)
        scan = scan_folder(root)
        chunks = _make_chunks(spec, scan, root, store, workers, _after(rendered, progress))
        drops, parts = _decide(spec, scan, chunks)
        tree = store.work_folder() / "tree"
        info = _write_tree(tree, spec, chunks, parts, drops)
    except InvalidInput:
        store.clear_work_folder()
        raise
    digest = store.publish(tree, "")
    store.clear_work_folder()
    return IngestReport(digest, info, drops)


def _source_folder(
    spec: DatasetSpec, store: Store, workers: int, progress: Progress
) -> tuple[Path, int]:
    """Return the folder of videos, rendered first if they are synthetic, and how many were."""
    if spec.source.folder is not None:
        return local_path(spec.source.folder.uri), 0
    synthetic = spec.source.synthetic
    assert synthetic is not None
    total = 2 * synthetic.num_videos
    folder = rendered_folder(
        synthetic, store.work_folder(), workers, lambda done, _: progress(done, total)
    )
    return folder, synthetic.num_videos


def _after(earlier: int, progress: Progress) -> Progress:
    """Return a progress that counts what was done before."""
    return lambda done, total: progress(earlier + done, earlier + total)


def _make_chunks(
    spec: DatasetSpec, scan: Scan, root: Path, store: Store, workers: int, progress: Progress
) -> list[Path]:
    """Return the chunks' files, in order; decode those videos whose chunk is not there yet."""
    folder = store.work_folder() / "chunks"
    cut = spec.source.folder or FolderSource(uri="-")
    examples = read_lessons(root)
    batches = [
        scan.files[start : start + VIDEOS_PER_CHUNK]
        for start in range(0, len(scan.files), VIDEOS_PER_CHUNK)
    ]
    paths = [folder / f"{_chunk_digest(spec, cut, batch, examples)}.parquet" for batch in batches]
    missing = [(p, b) for p, b in zip(paths, batches, strict=True) if not p.is_file()]
    tasks = [
        VideoTask(file.path, spec.frames, cut.clip_seconds, cut.max_clips_per_video)
        for _, batch in missing
        for file in batch
    ]
    deadline = spec.decode_timeout_seconds
    with IsolatedPool(prepare_video, workers=workers, deadline_seconds=deadline) as pool:
        done = len(scan.files) - len(tasks)
        outcomes = _counted(pool.map(tasks), done, len(scan.files), progress)
        for path, batch in missing:
            _write_chunk(
                path, list(zip(batch, islice(outcomes, len(batch)), strict=True)), examples
            )
    return paths


def _counted(
    outcomes: Iterator[_Outcome], done: int, total: int, progress: Progress
) -> Iterator[_Outcome]:
    """Pass on the outcomes and report each."""
    progress(done, total)
    for position, outcome in enumerate(outcomes, start=1):
        progress(done + position, total)
        yield outcome


def _chunk_digest(
    spec: DatasetSpec,
    cut: FolderSource,
    batch: Sequence[SourceFile],
    examples: dict[str, tuple[Example, ...]],
) -> str:
    """Return the digest of all that a chunk is made from."""
    files = [
        [f.source, str(f.path), f.video_id, f.label, f.generator, f.size_bytes, f.modified_ns]
        for f in batch
    ]
    lessons = [[asdict(e) for e in examples.get(f.source, ())] for f in batch]
    plan = [spec.frames.model_dump(), cut.clip_seconds, cut.max_clips_per_video]
    return sha256_of([_FORMAT, plan, spec.decode_timeout_seconds, files, lessons])


def _write_chunk(
    path: Path,
    outcomes: Sequence[tuple[SourceFile, _Outcome]],
    examples: dict[str, tuple[Example, ...]],
) -> None:
    """Write what came of a chunk's files; the split is decided later."""
    drops = [_drop(file, o) for file, o in outcomes if not isinstance(o, PreparedVideo)]
    clips = (
        clip
        for file, outcome in outcomes
        if isinstance(outcome, PreparedVideo)
        for clip in _clips(file, outcome, examples.get(file.source, ()))
    )
    write_shard(path, clips, drops)


def _drop(file: SourceFile, outcome: Unusable | Failure) -> Drop:
    """Return the drop that an outcome without clips means."""
    reason = _FAILURES[outcome.kind] if isinstance(outcome, Failure) else outcome.reason
    return Drop(file.source, reason, outcome.detail)


def _clips(
    file: SourceFile, video: PreparedVideo, examples: tuple[Example, ...]
) -> Iterator[tuple[ClipRow, tuple[bytes, ...]]]:
    """Yield the rows of one video, their split still open."""
    for clip in video.clips:
        row = ClipRow(
            row_id=f"{file.video_id}-{clip.index}",
            video_id=file.video_id,
            label=file.label,
            generator=file.generator,
            split="",
            source=file.source,
            source_sha256=video.sha256,
            start_seconds=clip.start_seconds,
            end_seconds=clip.end_seconds,
            sampled_fps=clip.sampled_fps,
            timestamps_seconds=clip.timestamps_seconds,
            width=clip.width,
            height=clip.height,
            examples=examples,
        )
        yield row, clip.images


def _decide(
    spec: DatasetSpec, scan: Scan, chunks: Sequence[Path]
) -> tuple[tuple[Drop, ...], dict[str, str]]:
    """Return all drops, and the split of each video that stays."""
    rows = [row for chunk in chunks for row in read_rows(chunk)]
    again = find_repeats(rows)
    drops = [*scan.drops, *(drop for chunk in chunks for drop in read_drops(chunk)), *again]
    dropped = {drop.source for drop in again}
    videos = {row.video_id: row.label for row in rows if row.source not in dropped}
    counts = Counter(videos.values())
    if any(counts[label] < 2 for label in LABELS):
        raise InvalidInput(
            f"the source has {counts['real']} usable real and {counts['fake']} usable fake videos; "
            f"of {len(scan.files)} videos and {len(scan.drops)} other files these were dropped: "
            f"{describe_reasons(drops)}. At least 2 of each class are needed, one for Train and "
            "one for Test: add videos, or mend those that were dropped"
        )
    parts = split_videos(videos.items(), spec.split)
    ordered = sorted(drops, key=lambda drop: drop.source)
    return tuple(ordered), {video_id: part.value for video_id, part in parts.items()}


def find_repeats(rows: Sequence[ClipRow]) -> list[Drop]:
    """Return drops for files of the same bytes: all but the first, or all if labels differ."""
    sources: dict[str, dict[str, str]] = {}
    for row in rows:
        sources.setdefault(row.source_sha256, {})[row.source] = row.label
    drops: list[Drop] = []
    for same in sources.values():
        first, *others = sorted(same)
        if len(set(same.values())) > 1:
            detail = f"same bytes, both labels: {', '.join(sorted(same))}"
            drops += [Drop(source, DropReason.CONFLICTING_LABEL, detail) for source in same]
        else:
            drops += [Drop(s, DropReason.DUPLICATE, f"same bytes as {first}") for s in others]
    return drops


def _write_tree(
    tree: Path,
    spec: DatasetSpec,
    chunks: Sequence[Path],
    parts: dict[str, str],
    drops: Sequence[Drop],
) -> dict[str, Any]:
    """Write the dataset's files into a local folder; return the content of dataset.json."""
    with world_errors(tree, "cannot write the dataset; the decoded videos are kept"):
        if tree.exists():
            shutil.rmtree(tree)
        shards: list[str] = []
        rows: list[ClipRow] = []
        for chunk in chunks:
            name = f"shards/part-{len(shards):05d}.parquet"
            kept = _kept(chunk, parts, {drop.source for drop in drops})
            if write_shard(tree / name, kept):
                rows += read_rows(tree / name)
                shards.append(name)
            else:
                (tree / name).unlink()
        info = summarise(spec, rows, drops) | {"shards": shards}
        write_json(tree / DROPS, [asdict(drop) for drop in drops])
        write_json(tree / INFO, info)
    return info


def _kept(
    chunk: Path, parts: dict[str, str], dropped: set[str]
) -> Iterator[tuple[ClipRow, tuple[bytes, ...]]]:
    """Yield the clips of a chunk that stay, with their split."""
    for row, images in read_clips(chunk):
        if row.source not in dropped:
            yield replace(row, split=parts[row.video_id]), images


def summarise(spec: DatasetSpec, rows: Sequence[ClipRow], drops: Sequence[Drop]) -> dict[str, Any]:
    """Return spec and counts of a dataset, as dataset.json holds them."""
    lengths = [row.end_seconds - row.start_seconds for row in rows]
    return {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "num_rows": len(rows),
        "num_videos": len({row.video_id for row in rows}),
        "num_dropped": len(drops),
        "rows_by_split": dict(sorted(Counter(row.split for row in rows).items())),
        "rows_by_split_and_label": {
            split: dict(sorted(Counter(r.label for r in rows if r.split == split).items()))
            for split in sorted({row.split for row in rows})
        },
        "rows_by_generator": dict(sorted(Counter(row.generator for row in rows).items())),
        "drops": count_reasons(drops),
        "clip_seconds": {
            "min": round(min(lengths), 3),
            "median": round(median(lengths), 3),
            "max": round(max(lengths), 3),
        },
    }
