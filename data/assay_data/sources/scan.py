"""Annotated rows of a source: read, told apart, and counted where they are not usable."""

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from assay_api import InvalidInput
from assay_api.dataset import RowsFormat, RowsSource, SplitRule
from assay_api.digest import sha256_of
from assay_data.atomic import replacing, world_errors
from assay_data.drops import Drop, DropReason, describe_reasons
from assay_data.sources.files import first_records, list_row_files, part_of_file, read_records
from assay_data.sources.folders import video_ids
from assay_data.sources.registry import detect, read_record, unknown_columns
from assay_data.sources.row import Medium, SourceRow

SAMPLED_RECORDS = 64
"""Records of a file from which its format is told."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A row as it comes out of a file."""

    source: str
    row: SourceRow
    record_digest: str


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row, and where it was found."""

    source: str
    """File and position."""
    row_id: str
    part: str
    """`Train` or `Test` as row or file say; empty when neither does."""
    row: SourceRow
    """Its media have no bytes."""
    digest: str
    """Of the row's content, media bytes included."""
    record_digest: str
    """Of the whole record, columns that are not read included."""
    files: tuple[Path | None, ...]
    """For each medium the file with the bytes that lay in the row; None: it is to be looked up."""


@dataclass(frozen=True, slots=True)
class RowScan:
    """What a source of rows holds."""

    rows: tuple[FoundRow, ...]
    """In the order of the files' names, then of positions."""
    drops: tuple[Drop, ...]


def scan_rows(source: RowsSource, rule: SplitRule, path: Path, kept: Path) -> RowScan:
    """Return the usable rows of a source.

    Args:
        source: says format and polarity.
        rule: of the split; a test set keeps rows that repeat.
        path: the source on this machine.
        kept: folder for pictures that lie in the rows themselves.

    Raises:
        InvalidInput: there is no file, no known format or no usable row.
        StoreError: pictures cannot be written.
    """
    files, others = list_row_files(path)
    ids = video_ids(list(files))
    drops: list[Drop] = list(others)
    rows: list[FoundRow] = []
    for name, file in sorted(files.items()):
        for found in _read_file(source, file, name, alone=len(files) == 1):
            if isinstance(found, Drop):
                drops.append(found)
            else:
                rows.append(_found(found, name, ids[name], kept))
    tested = {row.source for row in rows if _is_test(row, rule)}
    wrong = [*find_repeated_rows(rows, tested), *find_two_labels(rows)]
    drops += {drop.source: drop for drop in reversed(wrong)}.values()
    dropped = {drop.source for drop in wrong}
    rows = [row for row in rows if row.source not in dropped]
    if not rows:
        first = f"; the first: {drops[0].source}: {drops[0].detail}" if drops else ""
        raise InvalidInput(
            f"source {path} has no usable row (dropped: {describe_reasons(drops)}{first}): mend "
            "the rows, or name their format"
        )
    return RowScan(tuple(rows), tuple(drops))


def find_repeated_rows(rows: Sequence[FoundRow], tested: Container[str]) -> list[Drop]:
    """Return drops for rows whose whole record repeats an earlier one.

    A bare prompt may repeat: nothing of it is learned by heart, its number is its weight. And a
    test set is scored as it was published.

    Args:
        rows: in order.
        tested: sources of rows that belong to a test set.
    """
    first: dict[str, str] = {}
    drops: list[Drop] = []
    for found in rows:
        row = found.row
        if not (row.answer or row.response or row.chosen):
            continue
        earlier = first.setdefault(found.record_digest, found.source)
        if earlier != found.source and found.source not in tested:
            drops.append(Drop(found.source, DropReason.DUPLICATE, f"same row as {earlier}"))
    return drops


def find_two_labels(rows: Sequence[FoundRow]) -> list[Drop]:
    """Return drops for all rows of a video that is labelled as real and as fake.

    Only rows whose label speaks of the video itself: a true and a false title of one video are no
    contradiction.
    """
    strict = [found for found in rows if found.row.labels_video]
    labels: dict[str, set[str]] = {}
    for found in strict:
        labels.setdefault(found.row.group, set()).add(found.row.label)
    return [
        Drop(
            found.source,
            DropReason.CONFLICTING_LABEL,
            f"video {found.row.group[:80]!r} appears as real and as fake",
        )
        for found in strict
        if len(labels[found.row.group]) > 1
    ]


def _is_test(found: FoundRow, rule: SplitRule) -> bool:
    """Tell whether a row belongs to a test set, by the rule, or by the source's own word."""
    return rule is SplitRule.TEST or (rule is not SplitRule.TRAIN and found.part == "Test")


def _read_file(source: RowsSource, file: Path, name: str, alone: bool) -> Iterator[Drop | _Read]:
    """Yield a row, or a drop, for each record of a file."""
    rows_format: RowsFormat | None = source.format
    if rows_format is RowsFormat.AUTO:
        sample = first_records(file, name, SAMPLED_RECORDS)
        rows_format = detect(sample)
        if rows_format is None and sample:
            if alone:
                raise InvalidInput(f"{file}: {unknown_columns(sample)}")
            yield Drop(name, DropReason.WRONG_COLUMNS, unknown_columns(sample))
            return
    for position, record in read_records(file, name):
        if isinstance(record, Drop):
            yield record
            continue
        # A file without any mapping has no format and needs none: each record is refused.
        read = read_record(rows_format or RowsFormat.VERL, record, position, source.polarity)
        if isinstance(read, Drop):
            yield read
        elif digest := _record_digest(record):
            yield _Read(position, read, digest)
        else:
            yield Drop(position, DropReason.MALFORMED, "its values are nested too deeply")


def _record_digest(record: object) -> str | None:
    """Return the digest of a record, bytes in it by their own; None if it is nested too deeply."""
    try:
        text = json.dumps(record, sort_keys=True, default=_stand_in)
    except RecursionError:
        return None
    return sha256(text.encode()).hexdigest()


def _stand_in(value: object) -> str:
    return sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)


def _found(read: _Read, name: str, file_id: str, kept: Path) -> FoundRow:
    """Put a row together with its place; bytes of its media go to files."""
    row, source = read.row, read.source
    files = tuple(None if m.data is None else _keep(m.data, kept) for m in row.media)
    bare = replace(row, media=tuple(Medium(medium.reference) for medium in row.media))
    digest = sha256_of([asdict(bare), [file.name if file else None for file in files]])
    position = int(source.rpartition(":")[2])
    return FoundRow(
        source=source,
        row_id=f"{file_id}-{position:06d}",
        part=row.part or part_of_file(name),
        row=bare,
        digest=digest,
        record_digest=read.record_digest,
        files=files,
    )


def _keep(data: bytes, folder: Path) -> Path:
    """Return a file with these bytes."""
    path = folder / sha256(data).hexdigest()
    if not path.is_file():
        with world_errors(path, "cannot keep a row's picture"), replacing(path) as temporary:
            temporary.write_bytes(data)
    return path
