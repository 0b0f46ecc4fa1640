"""Files of rows: which there are, and their records one after the other."""

import itertools
import json
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from assay_api import InvalidInput
from assay_data.dataset import INFO
from assay_data.drops import Drop, DropReason
from assay_data.sources.folders import (
    ARCHIVE_EXTENSIONS,
    IMAGE_EXTENSIONS,
    ROWS_EXTENSIONS,
    VIDEO_EXTENSIONS,
    label_of,
    list_files,
)
from assay_data.sources.record import part_of

LIST_EXTENSIONS = frozenset([".yaml", ".yml"])
_BESIDE = (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS, *ARCHIVE_EXTENSIONS, *LIST_EXTENSIONS)
"""Of files beside those of rows that are no rows and need no word."""
ROWS_PER_READ = 256
"""Rows of a Parquet file decoded at once."""

Found = tuple[str, object]
"""File and position, and the decoded record or a drop."""


def holds_rows(path: Path) -> bool:
    """Tell whether a source is annotated rows, not videos in folders named real and fake."""
    if not path.is_dir():
        return _extension(path.name) in ROWS_EXTENSIONS | LIST_EXTENSIONS
    names = list_files(path)
    videos = any(_extension(name) in VIDEO_EXTENSIONS and label_of(name) for name in names)
    return not videos and any(_extension(name) in ROWS_EXTENSIONS for name in names)


def list_row_files(path: Path) -> tuple[dict[str, Path], tuple[Drop, ...]]:
    """Return the files of rows by name, and drops for others that are not media.

    Args:
        path: a file of rows, a YAML file that lists such files, or a folder of such files.

    Raises:
        InvalidInput: there is none.
    """
    if path.is_dir():
        return _in_folder(path)
    extension = path.suffix.casefold()
    if not path.exists():
        raise InvalidInput(
            f"source {path} does not exist: give a file of rows, or a folder of such"
        )
    if extension in LIST_EXTENSIONS:
        return _listed(path), ()
    if extension not in ROWS_EXTENSIONS:
        allowed = ", ".join(sorted(ROWS_EXTENSIONS | LIST_EXTENSIONS))
        raise InvalidInput(f"source {path}: extension {extension or '(none)'}, allowed: {allowed}")
    return {path.name: path}, ()


def read_records(path: Path, name: str) -> Iterator[Found]:
    """Yield the records of a file in order, each with its position; what cannot be read is a drop.

    Args:
        path: the file; Parquet and JSON lines are read piece by piece, other JSON at once.
        name: the file's name in positions: `name:17` is line or row 17.
    """
    try:
        if path.stat().st_size == 0:
            yield name, Drop(name, DropReason.EMPTY, "it has 0 bytes")
        elif path.suffix.casefold() == ".parquet":
            yield from _parquet(path, name)
        else:
            yield from _json(path, name)
    except OSError as error:
        yield name, Drop(name, DropReason.UNREADABLE, error.strerror or str(error))


def part_of_file(name: str) -> str:
    """Return the part of a dataset that a file's folders or name mean; empty for others.

    Example:
        >>> part_of_file("test/news.json"), part_of_file("gsm8k_train-00001.parquet")
        ('Test', 'Train')
    """
    path = PurePosixPath(name)
    words = [*path.parts[:-1], *path.stem.replace("-", "_").replace(".", "_").split("_")]
    return next((part for word in words if (part := part_of(word))), "")


def _in_folder(root: Path) -> tuple[dict[str, Path], tuple[Drop, ...]]:
    names = list_files(root)
    names = _own_shards(root, names) or names
    files = {n: root / n for n in names if _extension(n) in ROWS_EXTENSIONS}
    if not files:
        allowed = ", ".join(sorted(ROWS_EXTENSIONS))
        raise InvalidInput(f"source folder {root} has no files of rows ({allowed})")
    others = [n for n in names if n not in files and not n.casefold().endswith(_BESIDE)]
    detail = "its extension is neither that of rows nor that of media"
    return files, tuple(Drop(ascii(n)[1:-1], DropReason.NOT_ROWS, detail) for n in others)


def _own_shards(root: Path, names: Collection[str]) -> list[str]:
    """Return the shards of a dataset of ours, whose other files are no rows; empty: it is none."""
    try:
        shards = json.loads((root / INFO).read_text())["shards"]
        return [name for name in shards if name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _listed(path: Path) -> dict[str, Path]:
    """Return the files that Fact-R1's list of data sets names.

    Raises:
        InvalidInput: it is no such list, or a file is missing.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"]
        places = [str(entry["json_path"]) for entry in entries]
        strategies = [entry.get("sampling_strategy", "all") for entry in entries]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path}: must be a list `datasets: [{{json_path: FILE}}, ...]` ({error})"
        ) from error
    if unknown := [strategy for strategy in strategies if strategy != "all"]:
        raise InvalidInput(
            f"{path}: field sampling_strategy: got {unknown[0]!r}, allowed: all; a dataset holds "
            "every row: remove the field"
        )
    files = {place.removeprefix("./"): _beside(path, place) for place in places}
    if not files:
        raise InvalidInput(f"{path}: field datasets is empty: name at least one json_path")
    return files


def _beside(listing: Path, place: str) -> Path:
    """Return the file that a list names: from the list's folder, from the one above, or beside it.

    Fact-R1's lists lie in `data_config` and name files from the folder above.
    """
    tries = [listing.parent / place, listing.parent.parent / place]
    tries.append(listing.parent / PurePosixPath(place).name)
    for found in tries:
        if found.is_file() and found.suffix.casefold() in ROWS_EXTENSIONS:
            return found
    raise InvalidInput(
        f"{listing}: field json_path: {place} is no file of rows; looked for "
        f"{', '.join(str(t) for t in tries)}"
    )


def _parquet(path: Path, name: str) -> Iterator[Found]:
    position = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_PER_READ):
                for record in batch.to_pylist():
                    position += 1
                    yield f"{name}:{position}", record
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk's fault. Arrow's own have no number.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        yield name, Drop(name, DropReason.CORRUPT, f"Parquet, after row {position}: {first}")


def _json(path: Path, name: str) -> Iterator[Found]:
    """Read a list, one record, or, whatever the extension is, one record a line.

    UTF-8 with or without a mark, UTF-16 and UTF-32 are told apart by their first bytes.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    encoding = json.detect_encoding(start)
    first = start.decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n")
    if first.startswith("["):
        yield from _json_list(path, name)
    elif encoding in ("utf-8", "utf-8-sig"):
        yield from _json_lines(path, name, None)
    else:
        yield from _json_lines(path, name, encoding)


def _json_list(path: Path, name: str) -> Iterator[Found]:
    try:
        records = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        yield name, Drop(name, DropReason.MALFORMED, f"not valid JSON: {error}")
        return
    for position, record in enumerate(records, start=1):
        yield f"{name}:{position}", record


def _json_lines(path: Path, name: str, encoding: str | None) -> Iterator[Found]:
    """Read a record a line; a file without any such line is one drop.

    Args:
        path: the file.
        name: of it, for positions.
        encoding: None: UTF-8, so that a line that is not costs no other one.
    """
    wrong: list[Drop] = []
    any_record = False
    for position, line in _lines(path, encoding):
        source = f"{name}:{position}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not wrong and not any_record and (whole := _one_record(path)) is not None:
                yield f"{name}:1", whole
                return
            wrong.append(Drop(source, DropReason.MALFORMED, f"not valid JSON: {error}"))
        else:
            any_record = True
            yield from ((drop.source, drop) for drop in wrong)
            wrong.clear()
            yield source, record
    if any_record or len(wrong) < 2:
        yield from ((drop.source, drop) for drop in wrong)
    else:
        detail = f"none of its {len(wrong)} lines is JSON; the first: {wrong[0].detail}"
        yield name, Drop(name, DropReason.MALFORMED, detail)


def _one_record(path: Path) -> dict[str, object] | None:
    """Return the record that a whole file is, written over several lines; None if it is not."""
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _lines(path: Path, encoding: str | None) -> Iterator[tuple[int, str | bytes]]:
    """Yield the lines of a file that are not blank, numbered from 1."""
    if encoding is None:
        with path.open("rb") as file:
            for position, line in enumerate(file, start=1):
                if text := line.removeprefix(b"\xef\xbb\xbf").strip():
                    yield position, text
        return
    with path.open(encoding=encoding, errors="replace", newline="\n") as decoded:
        for position, decoded_line in enumerate(decoded, start=1):
            if stripped := decoded_line.lstrip("\ufeff").strip():
                yield position, stripped


def first_records(path: Path, name: str, count: int) -> list[dict[str, object]]:
    """Return the first records of a file that are mappings, to tell its format from."""
    found = (record for _, record in read_records(path, name) if isinstance(record, dict))
    return list(itertools.islice(found, count))


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.casefold()
