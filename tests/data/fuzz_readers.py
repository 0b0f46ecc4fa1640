"""Coverage-guided fuzzing of all that reads foreign bytes in this process: rows and archives.

`python tests/data/fuzz_readers.py -max_total_time=600` looks for ten minutes; bytes that make a
reader raise anything but our own errors are written to a file and end it. `make test` looks for a
few seconds. (Video files are read in processes of their own: see tests/data/videos/.)
"""

import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["assay_data.sources", "zipfile", "tarfile"]):
    from assay_data.sources.archives import extract, list_archive
    from assay_data.sources.files import read_records
    from assay_data.sources.registry import READERS, detect, read_record

from assay_api import InvalidInput, StoreError
from assay_data.drops import Drop
from assay_data.sources.row import SourceRow

FOLDER = Path(tempfile.mkdtemp(prefix="assay-fuzz-"))
ROW_FILES = ("json", "jsonl", "parquet")
ARCHIVES = ("zip", "tar", "tar.gz", "7z")
MOST_RECORDS = 20


def look(data: bytes) -> None:
    """Read the bytes as one kind of file."""
    if not data:
        return
    kinds = (*ROW_FILES, *ARCHIVES)
    kind = kinds[data[0] % len(kinds)]
    path = FOLDER / f"any.{kind}"
    path.write_bytes(data[1:])
    with suppress(InvalidInput, StoreError):
        if kind in ROW_FILES:
            read_rows(path)
        else:
            unpack(path)


def read_rows(path: Path) -> None:
    """Read a file of rows in every format."""
    for _, (_, record) in zip(range(MOST_RECORDS), read_records(path, "any"), strict=False):
        if isinstance(record, Drop):
            continue
        if isinstance(record, dict):
            detect([record])
        for rows_format in READERS:
            assert isinstance(read_record(rows_format, record, "any:1"), SourceRow | Drop)


def unpack(path: Path) -> None:
    """List an archive, and extract what it says it has."""
    listing = list_archive(path)
    wanted = {
        name: FOLDER / "out" / str(i) for i, name in enumerate(sorted(listing.sizes_bytes)[:5])
    }
    extract(path, wanted)
    outside = [p for p in FOLDER.rglob("*") if p.is_symlink()]
    assert outside == []


if __name__ == "__main__":
    # The peak that libFuzzer reads begins with that of the process that started this one.
    limit = 2048 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    atheris.Setup([*sys.argv, f"-artifact_prefix={FOLDER}/", f"-rss_limit_mb={limit}"], look)
    atheris.Fuzz()
