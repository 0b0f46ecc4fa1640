"""Making a dataset: videos or rows in, counted drops, a split by video, published shards out."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from assay_api import Dataset, InvalidInput, Split
from assay_api.dataset import DatasetSpec
from assay_data.atomic import world_errors, write_json
from assay_data.dataset import DROPS, INFO, SHAPES, shapes_of
from assay_data.dataset.card import CARD, dataset_card
from assay_data.dataset.overview import overview
from assay_data.dataset.rows import UNLABELLED, ClipRow
from assay_data.dataset.shards import Clip, read_clips, read_drops, read_rows, write_shards
from assay_data.dataset.usable import count_without_answer
from assay_data.drops import Drop, count_reasons
from assay_data.ingest.chunks import make_chunks
from assay_data.ingest.gather import Gathered, gather
from assay_data.ingest.items import Item
from assay_data.ingest.kept import select
from assay_data.ingest.same_pictures import find_same_pictures
from assay_data.progress import Progress
from assay_data.store import Store

SHARDS = "data"
"""Folder of the shards. Nothing else is in it: other tools take all its files for rows."""
VIDEOS_PER_CHUNK = 64
TEXTS_PER_CHUNK = 4096
"""Rows of a chunk where no row has media to decode."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of a source."""

    digest: str
    """SHA-256 of the dataset's manifest."""
    info: dict[str, Any]
    """Content of dataset.json: spec and counts."""
    drops: tuple[Drop, ...]
    """Every file and row that is not in the dataset."""


def build_dataset(dataset: Dataset, store: Store, workers: int, progress: Progress) -> IngestReport:
    """Make the dataset and publish it at the root of the store; return what became of the source.

    Args:
        dataset: the resource.
        store: where the dataset goes; what was published there before is replaced.
        workers: decoding processes at the same time; the result does not depend on it.
        progress: is told after every video or row.

    Raises:
        InvalidInput: the source is missing, empty, or has too little that is usable; the store is
            left as it was.
        StoreError: the store cannot be written; the finished chunks are kept for the next run.
    """
    spec, work = dataset.spec, store.work_folder()
    try:
        gathered = gather(spec, work, workers, progress)
        counted = _after(gathered.num_rendered, progress)
        chunks = make_chunks(spec, _batches(gathered), work / "chunks", workers, counted)
        rows = [row for chunk in chunks for row in read_rows(chunk)]
        decoding_drops = [drop for chunk in chunks for drop in read_drops(chunk)]
        contents = find_same_pictures(chunks)
        drops, parts = select(spec, gathered, rows, decoding_drops, contents)
        info = _write_tree(work / "tree", spec, chunks, parts, drops)
    except InvalidInput:
        store.clear_work_folder()
        raise
    digest = store.publish(work / "tree", "")
    store.clear_work_folder()
    return IngestReport(digest, info, drops)


def _batches(gathered: Gathered) -> list[Sequence[Item]]:
    """Return the items in chunks."""
    decodes = any(item.task is not None for item in gathered.items)
    size = VIDEOS_PER_CHUNK if decodes else TEXTS_PER_CHUNK
    items = gathered.items
    return [items[start : start + size] for start in range(0, len(items), size)]


def _after(earlier: int, progress: Progress) -> Progress:
    """Return a progress that counts what was done before."""
    return lambda done, total: progress(earlier + done, earlier + total)


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
        dropped = {drop.source for drop in drops}
        rows: list[ClipRow] = []
        shards: list[str] = []
        for split in Split:

            def is_kept(row: ClipRow, split: Split = split) -> bool:
                return row.source not in dropped and parts[row.video_id] == split

            clips = _kept(chunks, is_kept, split, rows)
            names = write_shards(tree / SHARDS, split, clips, first_index=len(rows))
            shards += [f"{SHARDS}/{name}" for name in names]
        info = summarise(spec, rows, drops) | {"shards": shards, SHAPES: shapes_of(rows)}
        write_json(tree / DROPS, [asdict(drop) for drop in drops])
        write_json(tree / INFO, info)
        (tree / CARD).write_text(dataset_card(spec, overview(rows, drops, size_bytes=0)))
    return info


def _kept(
    chunks: Sequence[Path],
    is_kept: Callable[[ClipRow], bool],
    split: Split,
    rows: list[ClipRow],
) -> Iterator[Clip]:
    """Yield the clips of a split; note their rows."""
    for chunk in chunks:
        for row, images in read_clips(chunk, is_kept):
            rows.append(replace(row, split=split.value))
            yield rows[-1], images


def summarise(spec: DatasetSpec, rows: Sequence[ClipRow], drops: Sequence[Drop]) -> dict[str, Any]:
    """Return spec and counts of a dataset, as dataset.json holds them."""
    lengths = [row.end_seconds - row.start_seconds for row in rows]
    return {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "num_rows": len(rows),
        "num_rows_with_frames": sum(row.width > 0 for row in rows),
        "num_rows_without_answer": count_without_answer(rows),
        "num_videos": len({row.video_id for row in rows}),
        "num_dropped": len(drops),
        "rows_by_split": _counts(row.split for row in rows),
        "rows_by_split_and_label": {
            split: _counts(r.label or UNLABELLED for r in rows if r.split == split)
            for split in sorted({row.split for row in rows})
        },
        "rows_by_generator": _counts(row.generator or UNLABELLED for row in rows),
        "rows_by_task": _counts(row.task for row in rows),
        "drops": count_reasons(drops),
        "clip_seconds": {
            "min": round(min(lengths), 3),
            "median": round(median(lengths), 3),
            "max": round(max(lengths), 3),
        },
    }


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
