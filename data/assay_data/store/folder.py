"""The object store: immutable trees of files under a URL, published with a manifest written last.

A tree without its `manifest.json` is not there, so a reader never sees half of one. Names that
start with `.assay-` are the store's own: files being written and the work folder.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, unquote

from assay_api.digest import sha256_of
from assay_api.errors import InvalidInput, StoreError
from assay_data.atomic import RESERVED, TEMPORARY, copy_file, replacing, world_errors, write_json

MANIFEST = "manifest.json"
_WORK = RESERVED + "work"
_JOURNAL = RESERVED + "publishing.json"

_Files = dict[str, dict[str, int | str]]


class Store(Protocol):
    """A place for files, addressed by keys: relative paths with forward slashes."""

    @property
    def url(self) -> str:
        """Address; `open_store` of it gives the same place."""
        ...

    def child(self, prefix: str) -> "Store":
        """Return the store of all keys under the prefix."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a key."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, sorted; none that is being written."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove a key or all keys under it, if any."""
        ...

    def publish(self, tree: Path, prefix: str) -> str:
        """Copy a local folder under the prefix, manifest last; return the tree's digest."""
        ...

    def fetch(self, prefix: str) -> Path:
        """Return a local folder with a published tree, sizes checked."""
        ...

    def verify(self, prefix: str) -> None:
        """Compare every file of a published tree with its SHA-256."""
        ...

    def digest(self, prefix: str) -> str:
        """Return the digest of a published tree."""
        ...

    def work_folder(self) -> Path:
        """Return a local folder for unfinished work, which outlives a killed run."""
        ...

    def clear_work_folder(self) -> None:
        """Remove the folder for unfinished work."""
        ...


def open_store(url: str) -> Store:
    """Return the store at a URL: a path, or `file:///absolute/path`. It need not exist yet.

    Raises:
        InvalidInput: the URL is of another kind.
    """
    return FolderStore(local_path(url))


def local_path(url: str) -> Path:
    """Return the absolute path that a URL or a plain path means.

    Raises:
        InvalidInput: it is empty, or a URL of something else than a local file.

    Example:
        >>> local_path("file:///data/my%20videos")
        PosixPath('/data/my videos')
    """
    allowed = "allowed are a path, such as runs/one, and file:///absolute/path"
    if not url or "\0" in url:
        raise InvalidInput(f"{url!r} is no place for files; {allowed}")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return Path(url).expanduser().absolute()
    if not url.startswith("file:///"):
        raise InvalidInput(f"{url!r} cannot be opened: {allowed}")
    return Path(unquote(url.removeprefix("file://")))


class FolderStore:
    """A store in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Name the folder, an absolute path. It is made by the first write."""
        self._root = root

    @property
    def url(self) -> str:
        """The folder as a file:// URL."""
        return "file://" + quote(str(self._root))

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
        parts = PurePosixPath(key).parts
        if key.startswith("/") or ".." in parts or "\0" in key:
            raise ValueError(f"key {key!r}: must be a relative path that stays inside the store")
        if any(part.startswith(RESERVED) for part in parts):
            raise ValueError(f"key {key!r}: names that start with {RESERVED} are the store's own")
        return self._root.joinpath(*parts)

    def read(self, key: str) -> bytes:
        """Return the content of a key.

        Raises:
            StoreError: there is no such key, or it cannot be read.
        """
        with world_errors(self.path(key), f"cannot read {key!r} of {self.url}"):
            return self.path(key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: after a crash it is the old or the new one, whole.

        Raises:
            StoreError: the disk is full or not writable; the old content is kept.
        """
        path = self.path(key)
        with world_errors(path, f"cannot write {key!r} to {self.url}; nothing of it was kept"):
            with replacing(path) as temporary:
                temporary.write_bytes(data)

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
            sources = {p.relative_to(tree).as_posix(): p for p in tree.rglob("*") if p.is_file()}
            sources.pop(MANIFEST, None)
            target.mkdir(parents=True, exist_ok=True)
            earlier = _earlier_files(target) - set(sources)
            write_json(target / _JOURNAL, sorted(earlier | set(sources)))
            (target / MANIFEST).unlink(missing_ok=True)
            for leftover in [self.child(prefix).path(name) for name in earlier]:
                leftover.unlink(missing_ok=True)
            for leftover in [p for p in target.rglob(TEMPORARY + "*") if _WORK not in p.parts]:
                leftover.unlink(missing_ok=True)
            manifest = {"files": {n: copy_file(sources[n], target / n) for n in sorted(sources)}}
            write_json(target / MANIFEST, manifest)
            (target / _JOURNAL).unlink()
        return sha256_of(manifest)

    def fetch(self, prefix: str) -> Path:
        """Return the folder of a published tree itself, after a look at the files' sizes.

        Raises:
            StoreError: the tree was never published entirely, or a file is missing or was changed.
        """
        folder = self.path(prefix)
        for name, entry in self._files(prefix).items():
            path = folder / name
            with world_errors(path, f"{self.url} is damaged"):
                size = path.stat().st_size
            if size != entry["size_bytes"]:
                raise StoreError(
                    f"{path} has {size} bytes, its manifest says {entry['size_bytes']}: the file "
                    "was changed; publish it again"
                )
        return folder

    def verify(self, prefix: str) -> None:
        """Compare every file of a published tree with its SHA-256.

        Raises:
            StoreError: a file is missing or was changed.
        """
        folder = self.fetch(prefix)
        for name, entry in self._files(prefix).items():
            path = folder / name
            with world_errors(path, f"cannot read {name!r} of {self.url}"), path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 != entry["sha256"]:
                raise StoreError(
                    f"{path} has SHA-256 {sha256}, its manifest says {entry['sha256']}: the file "
                    "was changed; publish it again"
                )

    def digest(self, prefix: str) -> str:
        """Return the digest of a published tree.

        Raises:
            StoreError: the tree was never published entirely.
        """
        return sha256_of({"files": self._files(prefix)})

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
        with world_errors(self._root / _WORK, "cannot remove the work folder"):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._root / _WORK)
        with contextlib.suppress(OSError):
            self._root.rmdir()

    def _files(self, prefix: str) -> _Files:
        """Return the manifest's files."""
        key = f"{prefix}/{MANIFEST}" if prefix else MANIFEST
        if not self.exists(key):
            raise StoreError(
                f"{self.child(prefix).url} holds nothing finished (it has no {MANIFEST}): run what "
                "makes it, again if it was interrupted, or correct the address"
            )
        try:
            files: _Files = json.loads(self.read(key))["files"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.path(key)} is damaged ({error}): delete the folder and make it again"
            ) from error
        return files


def _earlier_files(target: Path) -> set[str]:
    """Return the files that an earlier publication put here, finished or not."""
    earlier: set[str] = set()
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        earlier |= set(json.loads((target / MANIFEST).read_bytes())["files"])
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        earlier |= set(json.loads((target / _JOURNAL).read_bytes()))
    return earlier
