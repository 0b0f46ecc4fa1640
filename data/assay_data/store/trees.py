"""What a published tree is: files under a prefix, and a manifest with each one's SHA-256."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from assay_api.digest import sha256_of
from assay_api.errors import StoreError
from assay_data.atomic import RESERVED

if TYPE_CHECKING:
    from assay_data.store.interface import Store

MANIFEST = "manifest.json"
JOURNAL = RESERVED + "publishing.json"
"""Lists what a publication writes, from before its first file until after its manifest."""

Entry = dict[str, int | str]
"""`size_bytes` and `sha256` of a file."""
Files = dict[str, Entry]
"""The files of a tree, by their path in it."""

_ENTRY = ("size_bytes", "sha256")
_BLOCK_BYTES = 2**20


def check_key(key: str) -> tuple[str, ...]:
    """Return the parts of a key.

    Raises:
        ValueError: it leads out of the store, or is one of the store's own names.
    """
    parts = PurePosixPath(key).parts
    if key.startswith("/") or ".." in parts or "\0" in key:
        raise ValueError(f"key {key!r}: must be a relative path that stays inside the store")
    if any(part.startswith(RESERVED) for part in parts):
        raise ValueError(f"key {key!r}: names that start with {RESERVED} are the store's own")
    return parts


def join(prefix: str, name: str) -> str:
    """Return the key of a name under a prefix, which may be empty."""
    return f"{prefix}/{name}" if prefix and name else prefix or name


def local_files(tree: Path) -> dict[str, Path]:
    """Return the files of a local folder that a publication takes, by their path in it."""
    files = {p.relative_to(tree).as_posix(): p for p in sorted(tree.rglob("*")) if p.is_file()}
    files.pop(MANIFEST, None)
    return files


def describe(path: Path) -> Entry:
    """Return the manifest's entry of a local file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size_bytes": path.stat().st_size, "sha256": sha256}


def files_in(manifest: bytes) -> Files:
    """Return the files that a manifest lists.

    Raises:
        ValueError: it is none, or names a file outside of its tree.
    """
    try:
        files = json.loads(manifest)["files"]
        found = {name: {key: entry[key] for key in _ENTRY} for name, entry in files.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a manifest: {error!r}") from error
    for name in found:
        check_key(name)
    return found


def listed(manifest: bytes | None, journal: bytes | None) -> set[str]:
    """Return the files that earlier publications put somewhere, finished or not."""
    names: set[str] = set()
    if manifest is not None:
        with contextlib.suppress(ValueError):
            names |= set(files_in(manifest))
    if journal is not None:
        with contextlib.suppress(ValueError, TypeError):
            names |= set(json.loads(journal))
    return names


def tree_files(store: "Store", prefix: str) -> Files:
    """Return the files of the tree that is published under the prefix.

    Raises:
        StoreError: it was never published entirely, or its manifest is damaged.
    """
    key = join(prefix, MANIFEST)
    if not store.exists(key):
        raise StoreError(
            f"{store.child(prefix).url} holds nothing finished (it has no {MANIFEST}): run what "
            "makes it, again if it was interrupted, or correct the address"
        )
    try:
        return files_in(store.read(key))
    except ValueError as error:
        raise StoreError(
            f"{store.url}/{key} is damaged ({error}): delete the folder and make it again"
        ) from error


def wanted_of(files: Files, wanted: Callable[[str], bool]) -> Files:
    """Return the files of a tree that are wanted."""
    return {name: entry for name, entry in files.items() if wanted(name)}


def sizes_of(files: Files) -> dict[str, int]:
    """Return the bytes of each file of a manifest."""
    return {name: int(entry["size_bytes"]) for name, entry in files.items()}


def tree_digest(files: Files) -> str:
    """Return the digest of a tree: of all its files' names, sizes and SHA-256."""
    return sha256_of({"files": files})


def changed(place: str, found: str, expected: object) -> StoreError:
    """Return the error about a file that is not what its manifest says."""
    return StoreError(
        f"{place} has {found}, its manifest says {expected}: the file was changed; publish it again"
    )


def sha256_of_stream(file: BinaryIO) -> str:
    """Return the SHA-256 of what is left of a file, read in bounded memory."""
    sha256 = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        sha256.update(block)
    return sha256.hexdigest()
