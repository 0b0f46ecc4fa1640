"""Files that hold the same pictures in other bytes.

Such are a video in another container, or a picture saved again without loss. What a model sees is
stored already, and pictures that are the same have the same size in the shards: only those of equal
sizes are read.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from assay_data.dataset.rows import ClipRow
from assay_data.dataset.shards import read_clips, read_image_sizes, read_rows

Contents = dict[str, str]
"""For the SHA-256 of a file, that of the first file with the same pictures."""


def find_same_pictures(chunks: Sequence[Path]) -> Contents:
    """Return, for each file with frames, the first that has the very same ones, or itself.

    Args:
        chunks: shards of all rows; the first source of each file speaks for the others.
    """
    first_source: dict[str, str] = {}
    sizes: dict[str, list[int]] = defaultdict(list)
    for chunk in chunks:
        for row, size_bytes in zip(read_rows(chunk), read_image_sizes(chunk), strict=True):
            if row.width and first_source.setdefault(row.source_sha256, row.source) == row.source:
                sizes[row.source_sha256].append(size_bytes)
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for sha256, own in sizes.items():
        alike[tuple(own)].append(sha256)
    suspects = {first_source[s] for group in alike.values() if len(group) > 1 for s in group}
    pictures = _digests(chunks, suspects)
    first: dict[str, str] = {}
    return {s: first.setdefault(pictures.get(s, s), s) for s in first_source}


def _digests(chunks: Sequence[Path], sources: set[str]) -> dict[str, str]:
    """Return, by the SHA-256 of their file, a digest of the pictures of each of these sources."""
    digests: dict[str, hashlib._Hash] = {}

    def is_wanted(row: ClipRow) -> bool:
        return row.source in sources

    for chunk in chunks if sources else ():
        for row, images in read_clips(chunk, is_wanted):
            digest = digests.setdefault(row.source_sha256, hashlib.sha256())
            for image in images:
                digest.update(hashlib.sha256(image).digest())
            digest.update(b"end of a clip")
    return {sha256: digest.hexdigest() for sha256, digest in digests.items()}
