"""A finished dataset, as training and evaluation read it."""

import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assay_api import InvalidInput, Split, StoreError
from assay_data.shards import ClipRow, read_images, read_rows
from assay_data.store import Store

__all__ = ["DROPS", "INFO", "ClipDataset", "ClipRow", "decode_image"]

INFO = "dataset.json"
DROPS = "drops.json"
_CLIPS_IN_MEMORY = 16


class ClipDataset:
    """The rows of a dataset; frames are read when asked for."""

    def __init__(self, folder: Path, digest: str, info: dict[str, Any]) -> None:
        """Read all rows, without frames, of a dataset's local folder."""
        self.digest = digest
        self.info = info
        self._places: dict[str, tuple[Path, int]] = {}
        self._rows: list[ClipRow] = []
        for name in info["shards"]:
            for index, row in enumerate(read_rows(folder / name)):
                self._places[row.row_id] = (folder / name, index)
                self._rows.append(row)
        self._by_id = {row.row_id: row for row in self._rows}
        self._cached_frames = lru_cache(maxsize=_CLIPS_IN_MEMORY)(self._read_frames)

    @classmethod
    def open(cls, store: Store) -> Self:
        """Return the dataset that was published at the root of a store.

        Raises:
            StoreError: there is none, it is unfinished or it is damaged.
        """
        digest = store.digest("")
        try:
            info: dict[str, Any] = json.loads(store.read(INFO))
            return cls(store.fetch(""), digest, info)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{store.url} is no dataset, or is damaged ({error}): make it again with "
                "`assay data ingest`"
            ) from error

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
        """
        if row_id not in self._places:
            raise InvalidInput(f"dataset {self.digest[:12]} has no row {row_id!r}")
        return self._cached_frames(row_id)

    def _read_frames(self, row_id: str) -> NDArray[np.uint8]:
        images = read_images(*self._places[row_id])
        if not images:
            raise InvalidInput(
                f"row {row_id!r} of dataset {self.digest[:12]} has no frames: it is text, or was "
                "ingested without spec.source.rows.media"
            )
        frames = np.stack([decode_image(image) for image in images])
        frames.flags.writeable = False
        return frames


def decode_image(image: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a picture file, [height, width, 3], RGB."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
