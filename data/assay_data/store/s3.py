"""A store in a bucket: MinIO, or anything else that speaks S3."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import quote

from assay_api.digest import canonical_json, sha256_of
from assay_api.errors import StoreError
from assay_data.atomic import RESERVED, remove_folder, world_errors
from assay_data.store import transfer
from assay_data.store.bucket import Bucket
from assay_data.store.interface import Wanted, everything
from assay_data.store.many import each, shown
from assay_data.store.tree_cache import cache_folder, cached_tree
from assay_data.store.trees import (
    JOURNAL,
    MANIFEST,
    Files,
    changed,
    check_key,
    describe,
    join,
    listed,
    local_files,
    sha256_of_stream,
    sizes_of,
    tree_digest,
    tree_files,
    wanted_of,
)


class S3Store:
    """A store of all objects under a prefix of a bucket."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        """Name the bucket and the prefix, which may be empty."""
        self._bucket = bucket
        self._prefix = prefix

    @property
    def url(self) -> str:
        """The prefix as an s3:// URL."""
        return f"s3://{join(self._bucket.name, quote(self._prefix))}"

    @property
    def on_this_machine(self) -> bool:
        """That it is not: it has files here only of what processes here wrote or asked for."""
        return False

    def path(self, key: str) -> Path:
        """Return this machine's own file of a key, for what a process must write by itself."""
        return self._work_folder().joinpath("files", *check_key(key))

    def keep(self, key: str) -> None:
        """Set the content of a key to that of its own file on this machine, if there is one.

        Raises:
            StoreError: the file cannot be read, or the key cannot be written.
        """
        if self.path(key).is_file():
            self.put(key, self.path(key))

    def bring(self, key: str) -> Path:
        """Return this machine's own file of a key, with the key's content.

        Raises:
            StoreError: there is no such key, it cannot be read, or the file cannot be written.
        """
        self.get(key, self.path(key))
        return self.path(key)

    def child(self, prefix: str) -> "S3Store":
        """Return the store of all keys under the prefix.

        Raises:
            ValueError: the prefix leads out of the store.
        """
        return S3Store(self._bucket, self._name(prefix))

    def read(self, key: str) -> bytes:
        """Return the content of a key, its SHA-256 compared.

        Raises:
            StoreError: there is no such key, or it cannot be read.
        """
        with world_errors(Path(key), f"cannot read {key!r} of {self.url}"):
            return transfer.read_bytes(self._bucket, self._name(key))[0]

    def stream(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open the content of a key for reading from start to end, in bounded memory.

        Raises:
            StoreError: there is no such key, it cannot be read, or at its end it proves damaged.
        """
        with world_errors(Path(key), f"cannot read {key!r} of {self.url}"):
            return transfer.open_stream(self._bucket, self._name(key))

    def get(self, key: str, path: Path) -> None:
        """Write the content of a key to a local file: entirely, checked, or not at all.

        Raises:
            StoreError: there is no such key, it cannot be read, or the file cannot be written.
        """
        with world_errors(Path(key), f"cannot read {key!r} of {self.url}"):
            transfer.download(self._bucket, self._name(key), path)

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        transfer.upload_bytes(self._bucket, self._name(key), data)

    def put(self, key: str, path: Path) -> None:
        """Set the content of a key to that of a local file: entirely, or not at all.

        Raises:
            StoreError: the file cannot be read, or the key cannot be written.
        """
        transfer.upload(self._bucket, self._name(key), path)

    def create(self, key: str, data: bytes) -> bool:
        """Set the content of a key that has none; return False, changing nothing, if it has.

        The same content counts as set by this call: its first request may have been answered
        into a broken connection.
        """
        return self._put_if(key, data, {"If-None-Match": "*"})

    def swap(self, key: str, data: bytes, expected: bytes) -> bool:
        """Set the content of a key if it is `expected`; return False, changing nothing, if not."""
        try:
            found, etag = transfer.read_bytes(self._bucket, self._name(key))
        except FileNotFoundError:
            return False
        return found == expected and self._put_if(key, data, {"If-Match": etag})

    def copy(self, key: str, target: str) -> None:
        """Set the content of `target` to that of `key`, by the server itself.

        Raises:
            StoreError: there is no such key, or it cannot be copied.
        """
        with world_errors(Path(key), f"cannot copy {key!r} of {self.url}"):
            self._bucket.copy(self._name(key), self._name(target))

    def exists(self, key: str) -> bool:
        """Tell whether the key has content.

        Raises:
            StoreError: the server cannot be asked.
        """
        return self._bucket.stat(self._name(key)) is not None

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, a folder, sorted; none of the store's own.

        Raises:
            StoreError: the server cannot be asked.
        """
        keys = self._sizes(prefix)
        return sorted(k for k in keys if not any(p.startswith(RESERVED) for p in k.split("/")))

    def delete(self, prefix: str) -> None:
        """Remove a key or all keys under it; no error when there is none.

        Raises:
            StoreError: something cannot be removed.
        """
        check_key(prefix)
        # The manifest first: a tree that is half deleted must not look whole.
        self._remove([join(prefix, MANIFEST)])
        self._remove([*([prefix] if prefix else []), *self._sizes(prefix)])

    def publish(self, tree: Path, prefix: str) -> str:
        """Copy a local folder under the prefix, manifest last; return the tree's digest.

        What an earlier publication left there, whole or half, is replaced; other files stay. Files
        that an interrupted publication has already brought there are not sent again.

        Raises:
            StoreError: something cannot be read or written. Nothing is published then; the next
                try goes on.
        """
        target, sources = self.child(prefix), local_files(tree)
        with world_errors(tree, f"cannot publish to {target.url}; nothing was published"):
            files: Files = dict(zip(sources, each(describe, sources.values()), strict=True))
        earlier = target._listed() - set(files)
        target._write(JOURNAL, canonical_json(sorted(earlier | set(files))).encode())
        target._remove([MANIFEST, *earlier])
        there = target._sizes("")

        def send(name: str) -> None:
            if not (there.get(name) == files[name]["size_bytes"] and target._has(name, files)):
                transfer.upload(self._bucket, target._name(name), sources[name], files[name])

        each(send, files, shown(f"files to {target.url}", sizes_of(files).values()))
        target._write(MANIFEST, canonical_json({"files": files}).encode() + b"\n")
        target._remove([JOURNAL])
        return tree_digest(files)

    def fetch(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return a local copy of a published tree, every file compared with its SHA-256.

        What is on this machine's disk already is not fetched again.

        Raises:
            StoreError: the tree was never published entirely, or a file is missing or was changed.
        """
        target, files = self.child(prefix), wanted_of(tree_files(self, prefix), wanted)
        sha256 = {name: str(entry["sha256"]) for name, entry in files.items()}
        sizes = sizes_of(files)
        return cached_tree(
            tree_digest(files),
            lambda: sum(sizes.values()),
            lambda folder: target._download(sizes, folder, sha256),
            target.url,
        )

    def mirror(self, prefix: str, wanted: Wanted = everything) -> Path:
        """Return a local copy of the wanted files under the prefix, such as somebody's model.

        Raises:
            StoreError: there is none, it is a tree that is not published yet, or it cannot be read.
        """
        target = self.child(prefix)
        found = self._bucket.list(target._folder(""))
        if not found:
            raise StoreError(f"{target.url} holds nothing: correct the address")
        start = len(target._folder(""))
        if any(name.endswith(JOURNAL) for name in found):
            raise StoreError(
                f"{target.url} holds nothing finished: a publication is under way or was "
                "interrupted; run what makes it again"
            )
        found = {name: told for name, told in found.items() if wanted(name[start:])}
        sizes = {name[start:]: told.size_bytes for name, told in found.items()}
        digest = sha256_of([self._bucket.endpoint, {n: o.etag for n, o in found.items()}])
        return cached_tree(
            digest,
            lambda: sum(sizes.values()),
            lambda folder: target._download(sizes, folder),
            target.url,
        )

    def verify(self, prefix: str) -> None:
        """Compare every file of a published tree, as the server has it, with its SHA-256.

        Raises:
            StoreError: a file is missing or was changed.
        """
        target, files = self.child(prefix), tree_files(self, prefix)

        def check(name: str) -> None:
            with target.stream(name) as file:
                found = sha256_of_stream(file)
            if found != files[name]["sha256"]:
                raise changed(f"{target.url}/{name}", f"SHA-256 {found}", files[name]["sha256"])

        each(check, files, shown(f"files of {target.url}", sizes_of(files).values()))

    def digest(self, prefix: str) -> str:
        """Return the digest of a published tree.

        Raises:
            StoreError: the tree was never published entirely.
        """
        return tree_digest(tree_files(self, prefix))

    def collect_garbage(self, older_than_seconds: float) -> Sequence[str]:
        """Remove what unfinished publications left; return the keys that went.

        Raises:
            StoreError: the server cannot be asked, or refuses.
        """
        until = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        gone: list[str] = []
        for name, found in self._bucket.list(self._folder("")).items():
            if name.endswith(JOURNAL) and found.modified < until:
                place = name.removesuffix(JOURNAL).strip("/")
                keys = S3Store(self._bucket, place)._collect()
                gone += [join(place, key).removeprefix(self._folder("")) for key in keys]
        return sorted(gone)

    def work_folder(self) -> Path:
        """Return a folder of this machine for unfinished work, which outlives a killed run.

        Raises:
            StoreError: it cannot be made.
        """
        folder = self._work_folder()
        with world_errors(folder, "cannot make the work folder"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_work_folder(self) -> None:
        """Remove the work folder.

        Raises:
            StoreError: it cannot be removed.
        """
        remove_folder(self._work_folder())

    def _work_folder(self) -> Path:
        name = f"{self._bucket.endpoint} {self.url}"
        return cache_folder() / "work" / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _name(self, key: str) -> str:
        """Return the name of a key's object."""
        return join(self._prefix, "/".join(check_key(key)))

    def _folder(self, prefix: str) -> str:
        """Return what the names of all objects under the prefix start with."""
        folder = join(self._prefix, prefix)
        return f"{folder}/" if folder else ""

    def _sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of all keys under the prefix, also of the store's own ones."""
        found = self._bucket.list(self._folder(prefix))
        start = len(self._folder(""))
        return {name[start:]: told.size_bytes for name, told in found.items()}

    def _write(self, name: str, data: bytes) -> None:
        """Set the content of a key, which may be one of the store's own."""
        transfer.upload_bytes(self._bucket, join(self._prefix, name), data)

    def _remove(self, names: Iterable[str]) -> None:
        self._bucket.remove(join(self._prefix, name) for name in names)

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        name = self._name(key)
        if self._bucket.put_if(name, data, hashlib.sha256(data).hexdigest(), condition):
            return True
        try:
            return transfer.read_bytes(self._bucket, name)[0] == data
        except FileNotFoundError:
            return False

    def _has(self, name: str, files: Files) -> bool:
        """Tell whether the server has a file as the manifest will say."""
        found = self._bucket.stat(self._name(name))
        return found is not None and found.sha256 == files[name]["sha256"]

    def _listed(self) -> set[str]:
        """Return the files that earlier publications put here, finished or not."""
        return listed(self._content(MANIFEST), self._content(JOURNAL))

    def _content(self, name: str) -> bytes | None:
        try:
            return transfer.read_bytes(self._bucket, join(self._prefix, name))[0]
        except FileNotFoundError:
            return None

    def _download(
        self,
        sizes: Mapping[str, int],
        folder: Path,
        sha256: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write keys into a folder, each compared with its SHA-256 if that is given."""
        places = {name: folder.joinpath(*check_key(name)) for name in sizes}
        for parent in {place.parent for place in places.values()}:
            parent.mkdir(parents=True, exist_ok=True)

        def get(name: str) -> None:
            with world_errors(places[name], f"{self.url} is damaged"):
                transfer.receive(self._bucket, self._name(name), places[name], sha256.get(name))

        each(get, places, shown(f"files of {self.url}", sizes.values()))

    def _collect(self) -> Sequence[str]:
        """Remove what an unfinished publication left here; return the keys that went."""
        journal, manifest = self._content(JOURNAL), self._content(MANIFEST)
        doomed = listed(None, journal) - listed(manifest, None)
        for name in doomed:
            self._bucket.abandon_uploads(join(self._prefix, name))
        gone = sorted(doomed & set(self._sizes("")))
        self._remove([*gone, JOURNAL])
        return gone
