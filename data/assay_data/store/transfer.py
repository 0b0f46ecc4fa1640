"""Files up to a bucket and down from it: large ones in parts side by side, every byte checked.

The SHA-256 of each object is kept in its metadata, and compared whenever the object is read.
Memory is bounded by the parts that are on their way, whatever the size of the file.
"""

import hashlib
import io
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError

from assay_api.errors import StoreError
from assay_data.atomic import replacing, world_errors
from assay_data.store.bucket import SHA256_HEADER, Bucket, Damaged, Headers
from assay_data.store.trees import Entry, describe

PART_BYTES = 16 * 2**20
"""A file of more bytes goes in parts of so many."""
PARTS_AT_ONCE = 4
_BLOCK_BYTES = 2**20
MAX_PARTS = 10_000
"""S3's limit; files of more than 160 GiB have larger parts."""


def upload(bucket: Bucket, key: str, path: Path, entry: Entry | None = None) -> None:
    """Set an object to the content of a file, whose size and SHA-256 may be known already.

    Raises:
        StoreError: it cannot be read or written, or changed meanwhile; nothing is left half.
    """
    with world_errors(path, f"cannot read a file for key {key!r} of bucket {bucket.name}"):
        before = path.stat()
        told = entry or describe(path)
    size = int(told["size_bytes"])

    def send() -> None:
        with world_errors(path, "cannot read a file"), path.open("rb") as file:
            bucket.client.put_object(
                bucket.name,
                key,
                file,
                size,
                metadata={SHA256_HEADER: str(told["sha256"])},
                part_size=part_bytes(size),
                num_parallel_uploads=PARTS_AT_ONCE,
            )

    bucket.patiently("write", key, send)
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise StoreError(f"{path} was changed while it was uploaded: let it be, and run it again")


def upload_bytes(bucket: Bucket, key: str, data: bytes) -> None:
    """Set an object to these bytes."""
    metadata: Headers = {SHA256_HEADER: hashlib.sha256(data).hexdigest()}

    def send() -> None:
        bucket.client.put_object(bucket.name, key, io.BytesIO(data), len(data), metadata=metadata)

    bucket.patiently("write", key, send)


def read_bytes(bucket: Bucket, key: str) -> tuple[bytes, str]:
    """Return an object's content, checked, and its ETag."""

    def receive() -> tuple[bytes, str]:
        with closing(bucket.client.get_object(bucket.name, key)) as response:
            data = response.read()
            _check(response, hashlib.sha256(data).hexdigest())
            return data, str(response.headers["etag"])

    return bucket.patiently("read", key, receive)


def download(bucket: Bucket, key: str, path: Path) -> None:
    """Write an object into a file that appears whole, checked, or not at all.

    Raises:
        StoreError: it cannot be read, or is not what was stored.
        FileNotFoundError: there is no such object.
        OSError: the file cannot be written.
    """
    with replacing(path, durable=False) as temporary:
        receive(bucket, key, temporary)


def receive(bucket: Bucket, key: str, path: Path, expected_sha256: str | None = None) -> None:
    """Write an object into a file that nobody looks at yet; raises as `download` does."""
    bucket.patiently("read", key, lambda: _receive(bucket, key, path, expected_sha256))


def open_stream(bucket: Bucket, key: str) -> BinaryIO:
    """Open an object for reading from start to end; its SHA-256 is compared at the end.

    A connection that breaks is taken up again at the byte where it broke.

    Raises:
        StoreError: it cannot be read; while reading also: it is not what was stored.
        FileNotFoundError: there is no such object.
    """
    return io.BufferedReader(CheckedStream(bucket, key), _BLOCK_BYTES)


class CheckedStream(io.RawIOBase):
    """An object's bytes in order. The read that meets the end compares the SHA-256."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        """Open the object."""
        self._bucket, self._key = bucket, key
        self._sha256, self._offset, self._broken = hashlib.sha256(), 0, False
        self._response: BaseHTTPResponse = bucket.patiently(
            "read", key, lambda: bucket.client.get_object(bucket.name, key)
        )
        self._size = int(self._response.headers["content-length"])
        self._etag = str(self._response.headers["etag"])
        self._expected = self._response.headers.get(SHA256_HEADER)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer; return the number of bytes, 0 at the end."""
        data = b""
        if self._offset < self._size:
            try:
                data = self._bucket.patiently("read", self._key, lambda: self._next(len(buffer)))
            except FileNotFoundError as error:
                raise self._bucket.problem("read", self._key, "it was removed meanwhile") from error
        buffer[: len(data)] = data
        self._sha256.update(data)
        self._offset += len(data)
        at_end = self._offset == self._size
        if at_end and self._expected not in (None, self._sha256.hexdigest()):
            raise self._bucket.problem(
                "read", self._key, "its bytes are not those that were stored: read it again"
            )
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed:
            self._response.close()
        super().close()

    def _next(self, size: int) -> bytes:
        """Return the next bytes, over a new connection if the last one broke."""
        if self._broken:
            self._response = self._bucket.client.get_object(
                self._bucket.name,
                self._key,
                offset=self._offset,
                request_headers={"If-Match": self._etag},
            )
        self._broken = True
        data: bytes = self._response.read(size)
        self._broken = False
        return data


def part_bytes(size_bytes: int) -> int:
    """Return the size of a part of a file.

    Example:
        >>> part_bytes(5) == PART_BYTES, part_bytes(MAX_PARTS * PART_BYTES + 1) > PART_BYTES
        (True, True)
    """
    return max(PART_BYTES, math.ceil(size_bytes / MAX_PARTS / 2**20) * 2**20)


def _receive(bucket: Bucket, key: str, path: Path, expected_sha256: str | None) -> None:
    """Write an object into a file, in order if it is small, else by ranges side by side."""
    with closing(bucket.client.get_object(bucket.name, key)) as response, path.open("w+b") as file:
        size = int(response.headers["content-length"])
        sha256 = hashlib.sha256()
        if size <= PART_BYTES:
            for block in response.stream(_BLOCK_BYTES):
                sha256.update(block)
                file.write(block)
        else:
            response.close()
            etag = str(response.headers["etag"])
            os.posix_fallocate(file.fileno(), 0, size)
            with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                starts = range(0, size, PART_BYTES)
                ranges = [(start, min(PART_BYTES, size - start)) for start in starts]
                arrived = pool.map(
                    lambda part: _receive_part(bucket, key, file.fileno(), etag, part), ranges
                )
                # Hashed in order while later parts arrive: they are in the page cache.
                for part, _ in zip(ranges, arrived, strict=True):
                    _hash_part(file.fileno(), part, sha256)
        _check(response, sha256.hexdigest(), expected_sha256)


def _receive_part(bucket: Bucket, key: str, file: int, etag: str, part: tuple[int, int]) -> None:
    """Write a range of an object, which must still be the same one, to its place in the file."""
    start, length = part
    condition: Headers = {"If-Match": etag}

    def receive() -> None:
        response = bucket.client.get_object(
            bucket.name, key, start, length, request_headers=condition
        )
        with closing(response):
            at = start
            for block in _blocks_of(response, length):
                at += os.pwrite(file, block, at)
            response.release_conn()

    bucket.patiently("read", key, receive)


def _blocks_of(response: BaseHTTPResponse, length: int) -> Iterator[memoryview]:
    """Yield a response's body in blocks, which share one buffer.

    urllib3 copies each byte three times on its way; the response of http.client that it wraps
    writes into the buffer at once.
    """
    body = cast("io.BufferedIOBase", response._fp)  # type: ignore[attr-defined]
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    while length:
        received = body.readinto(buffer[: min(length, _BLOCK_BYTES)])
        if not received:
            raise ProtocolError(f"the connection broke {length} bytes before the end")
        length -= received
        yield buffer[:received]


def _hash_part(file: int, part: tuple[int, int], sha256: "hashlib._Hash") -> None:
    """Add a range of a file to a hash."""
    at, left = part
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    while left:
        size = os.preadv(file, [buffer[: min(left, _BLOCK_BYTES)]], at)
        sha256.update(buffer[:size])
        at, left = at + size, left - size


def _check(response: BaseHTTPResponse, found: str, expected: str | None = None) -> None:
    """Raise Damaged unless the SHA-256 is the expected one, or the one that was recorded.

    Objects that other programs stored may have none: of these only the length is known.
    """
    wanted = expected or response.headers.get(SHA256_HEADER)
    if wanted not in (None, found):
        raise Damaged(f"it has SHA-256 {found}, {wanted} was stored")
