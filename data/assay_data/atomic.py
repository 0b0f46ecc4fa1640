"""Files that appear whole or not at all, and disk errors that say what to do."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from assay_api.digest import canonical_json
from assay_api.errors import StoreError

RESERVED = ".assay-"
"""Names that start so are the store's own."""
TEMPORARY = RESERVED + "tmp-"
_COPY_BYTES = 4 * 2**20

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run it again",
    errno.EDQUOT: "the disk quota is used up: free some space and run it again",
    errno.EFBIG: "the file is larger than is allowed here: raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "permission is denied: change the owner or the mode, or choose another place",
    errno.EPERM: "permission is denied: change the owner or the mode, or choose another place",
    errno.ENOLCK: "the file system has no locks: choose a place on a disk of this machine",
    errno.EOPNOTSUPP: "the file system has no locks: choose a place on a disk of this machine",
    errno.ENOTDIR: "a file is where a folder is needed: choose another place",
}


@contextlib.contextmanager
def world_errors(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError inside into a StoreError that names the path and says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{what}: there is no {error.filename or path}") from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "look at the disk and the path, then run it again")
        raise StoreError(f"{what}: {error.filename or path}: {error.strerror}; {advice}") from error


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a new file beside the path; put it in the path's place, or remove it.

    Unless `durable` is false, as for what can be fetched again, it then outlives a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the file's or folder's content on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> None:
    """Write a plain value as canonical JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(canonical_json(value) + "\n")


def copy_file(source: Path, target: Path) -> dict[str, int | str]:
    """Copy a file atomically; return its size and SHA-256."""
    sha256, size_bytes = hashlib.sha256(), 0
    with replacing(target) as temporary, source.open("rb") as old, temporary.open("wb") as new:
        while block := old.read(_COPY_BYTES):
            sha256.update(block)
            size_bytes += len(block)
            new.write(block)
    return {"size_bytes": size_bytes, "sha256": sha256.hexdigest()}


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it; no error when there is none.

    Raises:
        StoreError: it cannot be removed.
    """
    with world_errors(folder, "cannot remove a folder"):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
