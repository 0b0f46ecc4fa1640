"""Chunks: the rows of a few items each, kept in the work folder under the digest of their making.

Items are taken in a fixed order and number, so that the result does not depend on the number of
workers, and a run that was killed goes on after its last chunk.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from assay_api.dataset import DatasetSpec
from assay_api.digest import sha256_of
from assay_data.dataset.shards import Clip, write_shard
from assay_data.drops import Drop
from assay_data.exported import DROPPED
from assay_data.ingest.items import Item
from assay_data.progress import Progress
from assay_data.video.isolation import Failure, IsolatedPool
from assay_data.video.prepare import PreparedVideo, Unusable
from assay_data.video.row_media import prepare_media

_FORMAT = 4
"""Counts changes of what a chunk contains; part of its digest."""

_Outcome = PreparedVideo | Unusable | Failure | None


def make_chunks(
    spec: DatasetSpec,
    batches: Sequence[Sequence[Item]],
    folder: Path,
    workers: int,
    progress: Progress,
) -> list[Path]:
    """Return the chunks' files, in order; make those that are not there yet.

    Raises:
        StoreError: the disk is full or not writable; finished chunks are kept.
    """
    paths = [folder / f"{_digest(spec, batch)}.parquet" for batch in batches]
    missing = [(p, b) for p, b in zip(paths, batches, strict=True) if not p.is_file()]
    waiting = [item for _, batch in missing for item in batch]
    total = sum(len(batch) for batch in batches)
    deadline = spec.decode_timeout_seconds
    with IsolatedPool(prepare_media, workers=workers, deadline_seconds=deadline) as pool:
        decoded = pool.map([task for item in waiting if (task := item.task) is not None])
        outcomes = (None if item.task is None else next(decoded) for item in waiting)
        counted = _counted(outcomes, total - len(waiting), total, progress)
        for path, batch in missing:
            _write(path, list(zip(batch, islice(counted, len(batch)), strict=True)))
    return paths


def _digest(spec: DatasetSpec, batch: Sequence[Item]) -> str:
    """Return the digest of all that a chunk is made from."""
    plan = [spec.frames.model_dump(), spec.decode_timeout_seconds]
    return sha256_of([_FORMAT, plan, [item.identity() for item in batch]])


def _counted(
    outcomes: Iterator[_Outcome], done: int, total: int, progress: Progress
) -> Iterator[_Outcome]:
    """Pass on the outcomes and report each."""
    progress(done, total)
    for position, outcome in enumerate(outcomes, start=1):
        progress(done + position, total)
        if isinstance(outcome, Unusable | Failure):
            DROPPED.labels(outcome.reason.value).inc()
        yield outcome


def _write(path: Path, outcomes: Sequence[tuple[Item, _Outcome]]) -> None:
    """Write what came of a chunk's items; the split is decided later."""
    drops = [_drop(i, o) for i, o in outcomes if isinstance(o, Unusable | Failure)]
    write_shard(path, _clips(outcomes), drops)


def _clips(outcomes: Sequence[tuple[Item, _Outcome]]) -> Iterator[Clip]:
    for item, outcome in outcomes:
        if not isinstance(outcome, Unusable | Failure):
            yield from item.clips(outcome)


def _drop(item: Item, outcome: Unusable | Failure) -> Drop:
    """Return the drop that an outcome without rows means."""
    return Drop(item.source, outcome.reason, outcome.detail)
