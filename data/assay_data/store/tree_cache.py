"""Trees of a bucket on this machine's disk, by digest: fetched once, whoever asks.

A tree in use is never removed: whoever got it holds a shared lock for as long as its process lives.
When the cache is larger than `ASSAY_CACHE_GIB` (unset: 100), those longest unused go.
"""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from assay_api.errors import InvalidInput
from assay_data.atomic import TEMPORARY, world_errors

DEFAULT_GIB = 100.0

_held: dict[Path, int] = {}
"""File descriptors of the locks of the trees that this process uses."""
_one_at_a_time = threading.Lock()


def cache_folder() -> Path:
    """Return where copies are kept: `ASSAY_CACHE`, or the user's cache folder."""
    own = os.environ.get("ASSAY_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(general) / "assay").expanduser().absolute()


def cached_tree(digest: str, size_bytes: int, fetch: Callable[[Path], None]) -> Path:
    """Return the local folder of a tree, made by `fetch` unless it is there already.

    Args:
        digest: identifies the tree.
        size_bytes: of its files together.
        fetch: writes all of them into an empty folder.

    Raises:
        StoreError: the disk is full or not writable; nothing half is kept.
    """
    trees = cache_folder() / "trees"
    folder = trees / digest
    with _one_at_a_time, world_errors(folder, "cannot keep a copy of a tree"):
        trees.mkdir(parents=True, exist_ok=True)
        if folder not in _held:
            lock = os.open(trees / f"{digest}.lock", os.O_CREAT | os.O_RDWR)
            # From one kind of lock to the other there is a moment without: look again after it.
            while not _shared(lock, folder):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not folder.is_dir():
                    _make_room(trees, size_bytes)
                    _fill(folder, fetch)
            os.utime(lock)
            _held[folder] = lock
    return folder


def _shared(lock: int, folder: Path) -> bool:
    """Take the shared lock; tell whether the tree is there, and so stays."""
    fcntl.flock(lock, fcntl.LOCK_SH)
    return folder.is_dir()


def _fill(folder: Path, fetch: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder.parent) as name:
        new = Path(name) / "tree"
        new.mkdir()
        fetch(new)
        new.rename(folder)


def _make_room(trees: Path, size_bytes: int) -> None:
    """Remove the trees that nobody uses, longest unused first, until the new one fits."""
    left = _limit_bytes() - size_bytes - _size(trees)
    for path in sorted(trees.glob("*.lock"), key=lambda path: path.stat().st_mtime):
        folder = path.with_suffix("")
        if left >= 0:
            return
        if not folder.is_dir():
            continue
        with path.open("ab") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left += _size(folder)
            shutil.rmtree(folder)


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, file)).st_size
    return total


def _limit_bytes() -> float:
    told = os.environ.get("ASSAY_CACHE_GIB", str(DEFAULT_GIB))
    try:
        return float(told) * 2**30
    except ValueError:
        raise InvalidInput(f"ASSAY_CACHE_GIB={told!r}: must be a number of GiB") from None
