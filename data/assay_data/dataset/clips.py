"""A finished dataset, as training and evaluation read it."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay_api import InvalidInput, Split, StoreError
from assay_data.dataset.pictures import decode_frames, frames_bytes
from assay_data.dataset.shards import ClipRow, read_images, read_rows
from assay_data.drops import Drop, parse_drops
from assay_data.store import MANIFEST, Store
from assay_data.store.trees import sizes_of, tree_files

INFO = "dataset.json"
DROPS = "drops.json"
SHAPES = "clip_shapes"
"""Key of the shapes in `dataset.json`."""
REMEDY = "a dataset never changes: copy it again, or make it again with `assay data ingest`"
_CLIPS_IN_MEMORY = 16
_DAMAGE = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)
"""What reading a file raises that is not what was written."""


class ClipDataset:
    """The rows of a dataset; frames are read when asked for."""

    def __init__(self, folder: Path, digest: str, info: dict[str, Any]) -> None:
        """Read all rows, without frames, of a dataset's local folder.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        self.digest = digest
        self.info = info
        self._places: dict[str, tuple[Path, int]] = {}
        self._rows: list[ClipRow] = []
        for name in info["shards"]:
            with _damage_named(folder / name):
                for index, row in enumerate(read_rows(folder / name)):
                    self._places[row.row_id] = (folder / name, index)
                    self._rows.append(row)
        self._by_id = {row.row_id: row for row in self._rows}
        self._cached_frames = lru_cache(maxsize=_CLIPS_IN_MEMORY)(self._read_frames)

    @classmethod
    def open(cls, store: Store, split: Split | None = None) -> Self:
        """Return the dataset that was published at the root of a store.

        Args:
            store: where it is.
            split: the only one that is needed: shards of the other are neither fetched nor read,
                where shards are divided by split. None: both are needed.

        Raises:
            StoreError: there is none, it is unfinished or it is damaged.
        """
        digest = store.digest("")
        info = _read_json(store, INFO)
        others = {f"{other.lower()}-" for other in Split if split is not None and other != split}

        def is_needed(name: str) -> bool:
            return not any(PurePosixPath(name).name.startswith(other) for other in others)

        with _damage_named(store.url):
            folder = store.fetch("", is_needed)
        try:
            shards = [name for name in info["shards"] if is_needed(name)]
            return cls(folder, digest, {**info, "shards": shards})
        except (KeyError, TypeError) as error:
            raise StoreError(f"{store.url}/{INFO} is no dataset's ({error}): {REMEDY}") from error

    def rows(self, split: Split | None = None) -> tuple[ClipRow, ...]:
        """Return the rows of one part, or of both, in an order that is always the same."""
        return tuple(row for row in self._rows if split is None or row.split == split)

    def row(self, row_id: str) -> ClipRow:
        """Return one row.

        Raises:
            InvalidInput: the dataset has no such row.
        """
        if row_id not in self._by_id:
            raise InvalidInput(f"dataset {self.digest[:12]} has no row {row_id!r}")
        return self._by_id[row_id]

    def frames(self, row_id: str) -> NDArray[np.uint8]:
        """Return a clip's frames, [time, height, width, 3], RGB. Read-only: they are shared.

        Raises:
            InvalidInput: the dataset has no such row, or the row has no frames.
            StoreError: they cannot be read.
        """
        self.row(row_id)
        return self._cached_frames(row_id)

    def images(self, row_id: str) -> tuple[bytes, ...]:
        """Return a clip's frames as the picture files that the dataset holds. They are not kept.

        Raises:
            InvalidInput: the dataset has no such row.
            StoreError: they cannot be read.
        """
        self.row(row_id)
        path, index = self._places[row_id]
        with _damage_named(path):
            return read_images(path, index)

    def decode(self, row_id: str, images: Sequence[bytes]) -> NDArray[np.uint8]:
        """Return the frames that these files of a row are, as `frames` does. They are not kept.

        Raises:
            StoreError: they are no pictures, or not of one size.
        """
        with self._row_named(row_id):
            return decode_frames(images)

    def decoded_bytes(self, row_id: str, images: Sequence[bytes]) -> int:
        """Return how many bytes the frames of these files of a row will take.

        Raises:
            StoreError: they are no pictures.
        """
        with self._row_named(row_id):
            return frames_bytes(images)

    def _row_named(self, row_id: str) -> contextlib.AbstractContextManager[None]:
        path, _ = self._places[row_id]
        return _damage_named(f"{path}, row {row_id!r},")

    def _read_frames(self, row_id: str) -> NDArray[np.uint8]:
        images = self.images(row_id)
        if not images:
            raise InvalidInput(
                f"row {row_id!r} of dataset {self.digest[:12]} has no frames: it is text, or was "
                "ingested without spec.source.rows.media"
            )
        return self.decode(row_id, images)


def clip_shapes(store: Store) -> list[tuple[int, int, int]]:
    """Return number of frames, width and height of the clips of a dataset, each kind once.

    No shard is fetched, but for older datasets, whose `dataset.json` does not tell.

    Raises:
        StoreError: there is no dataset, or it is damaged.
    """
    store.digest("")
    info = _read_json(store, INFO)
    told = info.get(SHAPES) if isinstance(info, dict) else None
    if told is None:
        return shapes_of(ClipDataset.open(store).rows())
    with _damage_named(f"{store.url}/{INFO}"):
        return [(int(count), int(width), int(height)) for count, width, height in told]


def shapes_of(rows: Iterable[ClipRow]) -> list[tuple[int, int, int]]:
    """Return number of frames, width and height of rows, each kind once, in ascending order."""
    return sorted({(len(row.timestamps_seconds), row.width, row.height) for row in rows})


def dropped_files(store: Store) -> tuple[Drop, ...]:
    """Return the files that did not become part of the dataset in a store.

    Raises:
        StoreError: drops.json is missing or damaged.
    """
    entries = _read_json(store, DROPS)
    with _damage_named(f"{store.url}/{DROPS}"):
        return tuple(parse_drops(entries))


def published_bytes(store: Store) -> int:
    """Return the size of all files of the dataset in a store."""
    with _damage_named(f"{store.url}/{MANIFEST}"):
        return sum(sizes_of(tree_files(store, "")).values())


def verify_dataset(store: Store) -> None:
    """Compare every file of the dataset in a store with its SHA-256.

    Raises:
        StoreError: there is no dataset, or a file of it is missing or was changed.
    """
    store.digest("")
    with _damage_named(store.url):
        store.verify("")


def _read_json(store: Store, name: str) -> Any:
    """Return the content of one of the dataset's own files, which must be as it was published."""
    with _damage_named(f"{store.url}/{name}"):
        data = store.read(name)
        entry = tree_files(store, "").get(name)
        if entry is None or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ValueError(f"it is not the file that {MANIFEST} tells of")
        return json.loads(data)


@contextlib.contextmanager
def _damage_named(what: object) -> Iterator[None]:
    """Turn whatever a damaged file does inside into a StoreError that says what to do."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{error}; {REMEDY}") from error
    except _DAMAGE as error:
        raise StoreError(f"{what} is damaged ({error}): {REMEDY}") from error
