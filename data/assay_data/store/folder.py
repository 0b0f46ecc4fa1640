"""A store in a folder of this machine."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from assay_data.atomic import (
    RESERVED,
    TEMPORARY,
    copy_file,
    remove_folder,
    replacing,
    world_errors,
    write_json,
)
from assay_data.store.interface import Wanted, everything
from assay_data.store.trees import (
    JOURNAL,
    MANIFEST,
    changed,
    check_key,
    listed,
    local_files,
    sha256_of_stream,
    tree_digest,
    tree_files,
    wanted_of,
)

_WORK = RESERVED + "work"
_LOCK = RESERVED + "lock"


class FolderStore:
    """A store in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Name the folder, an absolute path. It is made by the first write."""
        self._root = root

    @property
    def url(self) -> str:
        """The folder as a file:// URL."""
        return "file://" + quote(str(self._root))

    @property
    def on_this_machine(self) -> bool:
        """That it is a folder."""
        return True

    def child(self, prefix: str) -> "FolderStore":
        """Return the store of all keys under the prefix.

        Raises:
            ValueError: the prefix leads out of the store.
        """
        return FolderStore(self.path(prefix))

    def path(self, key: str) -> Path:
        """Return the local path of a key.

        Raises:
            ValueError: the key leads out of the store, or is one of the store's own names.
        """
        return self._root.joinpath(*check_key(key))

    def keep(self, key: str) -> None:
        """Do nothing: the file is the key's content."""

    def bring(self, key: str) -> Path:
        """Return the file that is the key's content."""
        return self.path(key)

    def read(self, key: str) -> bytes:
        """Return the content of a key.

        Raises:
            StoreError: there is no such key, or it cannot be read.
        """
        with world_errors(self.path(key), f"cannot read {key!r} of {self.url}"):
            return self.path(key).read_bytes()

    def stream(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open the content of a key for reading.

        Raises:
            StoreError: there is no such key, or it cannot be read.
        """
        with world_errors(self.path(key), f"cannot read {key!r} of {self.url}"):
            return self.path(key).open("rb")

    def get(self, key: str, path: Path) -> None:
        """Write the content of a key to another file: entirely, or not at all.

        Raises:
            StoreError: there is no such key, it cannot be read, or the file cannot be written.
        """
        with world_errors(self.path(key), f"cannot copy {key!r} of {self.url} to {path}"):
            copy_file(self.path(key), path)

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: after a crash it is the old or the new one, whole.

        Raises:
            StoreError: the disk is full or not writable; the old content is kept.
        """
        path = self.path(key)
        with world_errors(path, f"cannot write {key!r} to {self.url}; nothing of it was kept"):
            with replacing(path) as temporary:
                temporary.write_bytes(data)

    def put(self, key: str, path: Path) -> None:
        """Set the content of a key to that of another file: entirely, or not at all.

        Raises:
            StoreError: the file cannot be read, or the disk is full or not writable.
        """
        with world_errors(path, f"cannot write {key!r} to {self.url}; nothing of it was kept"):
            copy_file(path, self.path(key))

    def create(self, key: str, data: bytes) -> bool:
        """Set the content of a key that has none; return False, changing nothing, if it has.

        Raises:
            StoreError: the disk is full or not writable.
        """
        path = self.path(key)
        with world_errors(path, f"cannot write {key!r} to {self.url}"), self._alone(path):
            if path.exists():
                return path.read_bytes() == data
            self.write(key, data)
            return True

    def swap(self, key: str, data: bytes, expected: bytes) -> bool:
        """Set the content of a key if it is `expected`; return False, changing nothing, if not.

        Raises:
            StoreError: the disk is full or not writable.
        """
        path = self.path(key)
        with world_errors(path, f"cannot write {key!r} to {self.url}"), self._alone(path):
            if not path.exists() or path.read_bytes() != expected:
                return False
            self.write(key, data)
            return True

    def copy(self, key: str, target: str) -> None:
        """Set the content of `target` to that of `key`.

        Raises:
            StoreError: there is no such key, or the disk is full or not writable.
        """
        with world_errors(self.path(key), f"cannot copy {key!r} of {self.url}"):
            copy_file(self.path(key), self.path(target))

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        return self.path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, a folder, sorted; none that is being written."""
        keys = []
        for folder, names, files in os.walk(self.path(prefix)):
            names[:] = [name for name in names if not name.startswith(RESERVED)]
            relative = Path(folder).relative_to(self._root)
            keys += [(relative / f).as_posix() for f in files if not f.startswith(RESERVED)]
        return sorted(keys)

    def delete(self, prefix: str) -> None:
        """Remove a key or all keys under it; no error when there is none.

        Raises:
            StoreError: something cannot be removed.
        """
        path = self.path(prefix)
        with world_errors(path, f"cannot delete {prefix!r} of {self.url}"):
            if path.is_dir() and not path.is_symlink():
                # The manifest first: a tree that is half deleted must not look whole.
                (path / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def publish(self, tree: Path, prefix: str) -> str:
        """Copy a local folder under the prefix, manifest last; return the tree's digest.

        What an earlier publication left there, whole or half, is replaced; other files stay.

        Raises:
            StoreError: the disk is full or not writable. Nothing is published then; the next try
                clears away what was copied.
        """
        target = self.path(prefix)
        with world_errors(
            target, f"cannot publish to {self.child(prefix).url}; nothing was published"
        ):
            sources = local_files(tree)
            target.mkdir(parents=True, exist_ok=True)
            earlier = _listed(target) - set(sources)
            write_json(target / JOURNAL, sorted(earlier | set(sources)))
            (target / MANIFEST).unlink(missing_ok=True)
            _remove_leftovers(target, earlier)
            files = {name: copy_file(source, target / name) for name, source in sources.items()}
            write_json(target / MANIFEST, {"files": files})
            (target / JOURNAL).unlink()
        return tree_digest(files)

    def fetch(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return the folder of a published tree itself, after a look at the wanted files' sizes.

        Raises:
            StoreError: the tree was never published entirely, or a file is missing or was changed.
        """
        folder = self.path(prefix)
        for name, entry in wanted_of(tree_files(self, prefix), wanted).items():
            path = folder / name
            with world_errors(path, f"{self.url} is damaged"):
                size = path.stat().st_size
            if size != entry["size_bytes"]:
                raise changed(str(path), f"{size} bytes", entry["size_bytes"])
        return folder

    def mirror(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return the folder itself."""
        return self.path(prefix)

    def verify(self, prefix: str) -> None:
        """Compare every file of a published tree with its SHA-256.

        Raises:
            StoreError: a file is missing or was changed.
        """
        folder = self.fetch(prefix)
        for name, entry in tree_files(self, prefix).items():
            path = folder / name
            with world_errors(path, f"cannot read {name!r} of {self.url}"), path.open("rb") as file:
                sha256 = sha256_of_stream(file)
            if sha256 != entry["sha256"]:
                raise changed(str(path), f"SHA-256 {sha256}", entry["sha256"])

    def digest(self, prefix: str) -> str:
        """Return the digest of a published tree.

        Raises:
            StoreError: the tree was never published entirely.
        """
        return tree_digest(tree_files(self, prefix))

    def collect_garbage(self, older_than_seconds: float) -> Sequence[str]:
        """Remove what unfinished publications left; return the keys that went.

        Raises:
            StoreError: something cannot be removed.
        """
        until, gone = time.time() - older_than_seconds, []
        with world_errors(self._root, f"cannot remove what was left in {self.url}"):
            for journal in list(self._root.rglob(JOURNAL)):
                if journal.stat().st_mtime < until:
                    target = journal.parent
                    doomed = listed(None, _content(journal)) - listed(
                        _content(target / MANIFEST), None
                    )
                    places = [target / name for name in doomed if (target / name).exists()]
                    gone += [place.relative_to(self._root).as_posix() for place in places]
                    _remove_leftovers(target, doomed)
                    journal.unlink()
        return sorted(gone)

    def work_folder(self) -> Path:
        """Return a folder for unfinished work, which outlives a killed run; keys never name it.

        Raises:
            StoreError: it cannot be made.
        """
        folder = self._root / _WORK
        with world_errors(folder, "cannot make the work folder"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_work_folder(self) -> None:
        """Remove the work folder, and the store's folder if it is empty.

        Raises:
            StoreError: it cannot be removed.
        """
        remove_folder(self._root / _WORK)
        with contextlib.suppress(OSError):
            self._root.rmdir()

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Keep other processes from creating or swapping keys in the path's folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _listed(target: Path) -> set[str]:
    """Return the files that earlier publications put here, finished or not."""
    return listed(_content(target / MANIFEST), _content(target / JOURNAL))


def _content(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _remove_leftovers(target: Path, names: set[str]) -> None:
    """Remove files of earlier publications, and files that were being written."""
    for name in names:
        target.joinpath(*check_key(name)).unlink(missing_ok=True)
    for leftover in target.rglob(TEMPORARY + "*"):
        if _WORK not in leftover.parts:
            leftover.unlink(missing_ok=True)
