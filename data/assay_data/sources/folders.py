"""Folders of videos: which files are there, and what their place says of them."""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from assay_api import InvalidInput
from assay_data.dataset.rows import LABELS
from assay_data.drops import Drop, DropReason, describe_reasons
from assay_data.lessons import Example

LESSONS = "lessons.json"
"""In the source folder: examples by file, as `assay data render` writes them."""
ARCHIVE_EXTENSIONS = tuple(".zip .7z .tar .tar.gz .tgz .tar.bz2 .tbz2 .tbz .tar.xz .txz".split())
ROWS_EXTENSIONS = frozenset([".json", ".jsonl", ".ndjson", ".parquet"])
VIDEO_EXTENSIONS = frozenset(
    ".3g2 .3gp .asf .avi .f4v .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob "
    ".webm .wmv".split()
)
IMAGE_EXTENSIONS = frozenset(".bmp .gif .jpeg .jpg .png .tif .tiff .webp".split())
"""Of pictures, which are videos of one frame; a GIF that moves is a video."""

_NUMBER = re.compile(r"^\d+[ _.-]")
"""Before a label, as image classifiers' folders have it: `0_real`, `1_fake`."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that looks like a labelled video."""

    source: str
    """Path relative to the source folder, with forward slashes."""
    path: Path
    video_id: str
    """Unique in the folder; safe in file names and URLs."""
    label: str
    generator: str
    """First folder below `fake`, `fake` itself when there is none, or `real`."""
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source folder holds."""

    files: tuple[SourceFile, ...]
    """Sorted by source."""
    drops: tuple[Drop, ...]


def scan_folder(
    root: Path,
    both_classes: bool = True,
    refused: Sequence[Drop] = (),
    archive: Path | None = None,
) -> Scan:
    """Return the videos under real/ and fake/, and the files that cannot be any.

    Args:
        root: the folder.
        refused: members of the archive that are not in it, which come first among the drops.
        archive: what the folder was unpacked from, for messages.
        both_classes: whether a class without a video is an error; a test set may have only fakes.

    Raises:
        InvalidInput: the folder is missing, or has not a video of each class that is needed.
    """
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise InvalidInput(
            f"source folder {root} {found}: give a folder that holds real/ and fake/ with videos, "
            f"or an archive of one ({', '.join(ARCHIVE_EXTENSIONS)})"
        )
    candidates: list[tuple[str, os.stat_result]] = []
    drops = list(refused)
    for source in list_files(root):
        found_or_drop = _look_at(root, source)
        if isinstance(found_or_drop, Drop):
            drops.append(found_or_drop)
        else:
            candidates.append((source, found_or_drop))
    ids = video_ids([source for source, _ in candidates])
    files = tuple(_source_file(root, source, status, ids[source]) for source, status in candidates)
    _check_classes(archive or root, files, drops, both_classes)
    return Scan(files, tuple(drops))


def label_of(source: str) -> tuple[str, str] | None:
    """Return label and generator that a path means; None when it means none.

    Example:
        >>> label_of("train/fake/cogvideox/part1/a.mp4")
        ('fake', 'cogvideox')
        >>> label_of("0_real/a.mp4"), label_of("1-Fake/sora/a.mp4")
        (('real', 'real'), ('fake', 'sora'))
        >>> label_of("Real/a.mp4"), label_of("fake/a.mp4"), label_of("a.mp4")
        (('real', 'real'), ('fake', 'fake'), None)
    """
    folders = PurePosixPath(source).parts[:-1]
    for position, folder in enumerate(folders):
        if (label := _NUMBER.sub("", folder.casefold())) in LABELS:
            below = folders[position + 1 :]
            return label, below[0] if label == "fake" and below else label
    return None


def video_ids(sources: list[str]) -> dict[str, str]:
    """Return an identifier for each path: the path without extension, made safe, and unique.

    Example:
        >>> video_ids(["real/a b.mp4", "real/c.mp4", "real/c.mov"])
        {'real/a b.mp4': 'real-a_b', 'real/c.mp4': 'real-c-f2563b', 'real/c.mov': 'real-c-6212d5'}
    """
    plain = {s: re.sub(r"[^A-Za-z0-9._-]", "_", _without_extension(s)) for s in sources}
    times = Counter(plain.values())
    return {
        source: name if times[name] == 1 else f"{name}-{sha256(source.encode()).hexdigest()[:6]}"
        for source, name in plain.items()
    }


def read_lessons(root: Path) -> dict[str, tuple[Example, ...]]:
    """Return the examples of each file that the folder's lessons.json has, or none.

    Raises:
        InvalidInput: the file has another structure.
    """
    path = root / LESSONS
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_bytes())
        found = {source: entry["examples"] for source, entry in entries.items()}
        return TypeAdapter(dict[str, tuple[Example, ...]]).validate_python(found)
    except (ValueError, ValidationError, AttributeError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} is not what `assay data render` writes ({error}): remove or mend it"
        ) from error


def list_files(root: Path) -> list[str]:
    """Return all files as relative paths, sorted, hidden ones left out; loops end."""
    visited: set[tuple[int, int]] = set()
    sources: list[str] = []
    for folder, names, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            names.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        names[:] = sorted(name for name in names if not name.startswith("."))
        relative = PurePosixPath(os.path.relpath(folder, root))
        sources += [str(relative / file) for file in files if not file.startswith(".")]
    return sorted(source for source in sources if source != LESSONS)


def _look_at(root: Path, source: str) -> os.stat_result | Drop:
    """Return the file's status, or the reason why it cannot be a labelled video."""
    extension = PurePosixPath(source).suffix.casefold()
    if extension not in VIDEO_EXTENSIONS | IMAGE_EXTENSIONS:
        detail = "its extension is no video's or picture's"
        if extension in ROWS_EXTENSIONS:
            detail += "; if it holds rows, give the file itself, and its media beside it"
        return Drop(_printable(source), DropReason.NOT_A_VIDEO, detail)
    if _printable(source) != source:
        return Drop(_printable(source), DropReason.UNREADABLE, "its name is not valid UTF-8")
    if label_of(source) is None:
        return Drop(source, DropReason.NO_LABEL, "it is neither under real/ nor under fake/")
    try:
        status = os.stat(root / source)
    except OSError as error:
        return Drop(source, DropReason.UNREADABLE, error.strerror or "it cannot be opened")
    if not stat.S_ISREG(status.st_mode):
        return Drop(source, DropReason.UNREADABLE, "it is not a regular file")
    if status.st_size == 0:
        return Drop(source, DropReason.EMPTY, "it has 0 bytes")
    if not os.access(root / source, os.R_OK):
        return Drop(source, DropReason.UNREADABLE, "permission denied")
    return status


def _source_file(root: Path, source: str, status: os.stat_result, video_id: str) -> SourceFile:
    """Put together what is known of a file."""
    found = label_of(source)
    assert found is not None
    label, generator = found
    return SourceFile(
        source=source,
        path=root / source,
        video_id=video_id,
        label=label,
        generator=generator,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
    )


def _check_classes(
    root: Path, files: tuple[SourceFile, ...], drops: list[Drop], both_classes: bool
) -> None:
    """Raise InvalidInput unless there is a file of each class, or of one if that is enough."""
    counts = Counter(file.label for file in files)
    if (all if both_classes else any)(counts[label] for label in LABELS):
        return
    first = f"; the first: {drops[0].source}: {drops[0].detail}" if drops else ""
    needed = (
        "both classes are needed, with at least two videos each"
        if both_classes
        else "nothing is usable; a video or picture of one class at least is needed"
    )
    raise InvalidInput(
        f"source {root} has {counts['real']} videos under real/ and {counts['fake']} under "
        f"fake/ (dropped files: {describe_reasons(drops)}{first}): {needed}. Put videos into "
        "folders called real and fake, and mend what was dropped"
    )


def _without_extension(source: str) -> str:
    """Return the path's parts joined by hyphens, without the extension."""
    return "-".join(PurePosixPath(source).with_suffix("").parts)


def _printable(text: str) -> str:
    """Return the text with bytes that are not UTF-8 written as escapes."""
    return os.fsencode(text).decode("utf-8", errors="backslashreplace")
