"""Trees of a bucket on this machine's disk, by digest: fetched once, whoever asks.

The folder may be shared by all processes and pods of a machine at the same time:

- One process fetches a tree, under an exclusive lock; the others wait and then use it.
- A tree appears by a rename, whole. What a killed process left of one is cleared by the next fetch.
- A tree in use is never removed: whoever got it holds a shared lock for as long as its process
  lives. When the cache is larger than `ASSAY_CACHE_GIB` (unset: 100), or the disk is full, those
  longest unused go.

The kernel releases the locks of a dead process.
"""

import fcntl
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from assay_api.errors import InvalidInput
from assay_data.atomic import TEMPORARY, world_errors

DEFAULT_GIB = 100.0

_held: dict[Path, int] = {}
"""File descriptors of the locks of the trees that this process uses."""
_one_at_a_time = threading.Lock()
_LOG = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where copies are kept: `ASSAY_CACHE`, or the user's cache folder."""
    own = os.environ.get("ASSAY_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(general) / "assay").expanduser().absolute()


def cached_tree(
    digest: str, size_bytes: Callable[[], int], fetch: Callable[[Path], None], what: str
) -> Path:
    """Return the local folder of a tree, made by `fetch` unless it is there already.

    Args:
        digest: identifies the tree.
        size_bytes: of its files together; called before a fetch only.
        fetch: writes all of them into an empty folder.
        what: the tree's address, for messages.

    Raises:
        StoreError: the disk is full or not writable; nothing half is kept.
    """
    trees = cache_folder() / "trees"
    folder = trees / digest
    with _one_at_a_time, world_errors(folder, f"cannot keep a copy of {what}"):
        trees.mkdir(parents=True, exist_ok=True)
        if folder not in _held:
            with ExitStack() as closing:
                lock = os.open(_lock_file(folder), os.O_CREAT | os.O_RDWR)
                closing.callback(os.close, lock)
                _share(lock, folder, size_bytes, fetch, what)
                os.utime(lock)
                closing.pop_all()
            _held[folder] = lock
    return folder


def keep_through_exec() -> None:
    """Keep the trees that this process uses also for the program that it becomes by exec."""
    with _one_at_a_time:
        for lock in _held.values():
            os.set_inheritable(lock, True)


def _share(
    lock: int, folder: Path, size_bytes: Callable[[], int], fetch: Callable[[Path], None], what: str
) -> None:
    """Take the shared lock of a tree that is there, fetched by this process if by no other.

    The exclusive lock is only tried for, never waited for: another process that wants the tree too
    may get it first, and keeps the tree, with a shared lock, for as long as it lives.
    """
    while True:
        if not _try(lock, fcntl.LOCK_SH):
            _LOG.info("waiting for another process of this machine that fetches %s", what)
            fcntl.flock(lock, fcntl.LOCK_SH)
        if folder.is_dir():
            return
        # Not every file system gives the shared lock up before it tries for the exclusive one.
        fcntl.flock(lock, fcntl.LOCK_UN)
        if not _try(lock, fcntl.LOCK_EX):
            time.sleep(random.uniform(0.01, 0.05))
        elif not folder.is_dir():
            _clear_leftovers(folder.parent)
            _make_room(folder.parent, size_bytes())
            _fill(folder, fetch)


def _try(lock: int, kind: int) -> bool:
    """Take a lock unless another process has it; tell whether."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fill(folder: Path, fetch: Callable[[Path], None]) -> None:
    """Fetch a tree, whose exclusive lock is held."""
    new = _unfinished(folder)
    _remove(new)
    new.mkdir()
    try:
        fetch(new)
        new.rename(folder)
    finally:
        _remove(new)


def _clear_leftovers(trees: Path) -> None:
    """Remove what killed processes left: trees that they fetched or removed."""
    for unfinished in trees.glob(f"{TEMPORARY}*"):
        _alone(trees / unfinished.name.removeprefix(TEMPORARY), partial(_remove, unfinished))


def _make_room(trees: Path, size_bytes: int) -> None:
    """Remove the trees that nobody uses, longest unused first, until the new one fits."""
    allowed = _limit_bytes() - size_bytes - _size(trees)
    free = shutil.disk_usage(trees).free - size_bytes
    left = min(allowed, free)
    for path in sorted(trees.glob("*.lock"), key=lambda path: path.stat().st_mtime):
        if left >= 0:
            return
        folder = path.with_suffix("")
        if folder.is_dir():
            size = _size(folder)
            if _alone(folder, partial(_evict, folder)):
                left += size
    if allowed < 0 and left < 0:
        _LOG.warning(
            "the cache %s grows beyond ASSAY_CACHE_GIB=%g: all trees in it are in use",
            *(trees.parent, _limit_bytes() / 2**30),
        )


def _evict(folder: Path) -> None:
    """Remove a tree. Renamed first: one that is half removed must not look whole."""
    folder.rename(_unfinished(folder))
    _remove(_unfinished(folder))


def _alone(folder: Path, act: Callable[[], None]) -> bool:
    """Act under the exclusive lock of a tree, unless somebody has a lock of it; tell whether."""
    with _lock_file(folder).open("ab") as lock:
        alone = _try(lock.fileno(), fcntl.LOCK_EX)
        if alone:
            act()
        return alone


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _unfinished(folder: Path) -> Path:
    """Return where a tree is while it is being fetched or removed."""
    return folder.with_name(TEMPORARY + folder.name)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
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
