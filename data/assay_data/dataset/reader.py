"""Rows of a dataset with their frames, one after another, read ahead of whoever uses them.

The rows are a stream without end or of so many rounds, each in an order of its own (`order.py`),
dealt to the ranks in turn. A round goes on where the one before ended: whether or not the rows
divide by the ranks, over all ranks each row is delivered exactly once in a round, none is repeated
or left out to make the ranks even, and no rank has more than one row more than another.
"""

import contextlib
import itertools
import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from assay_api import InvalidInput
from assay_api.digest import sha256_of
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.order import ShuffledStream
from assay_data.dataset.reader_position import ReaderPosition, together

READ_AHEAD_BYTES = 256 * 2**20
READ_AHEAD_CLIPS = 64
"""At most so many clips are read ahead, however small they are."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Which rows a reader delivers, and how far ahead it reads."""

    seed: int | None = None
    """Of the order, a new one each round; None: always in the order of the rows."""
    rounds: int | None = None
    """Times that each row is delivered; None: without end."""
    rank: int = 0
    num_ranks: int = 1
    read_ahead_bytes: int = READ_AHEAD_BYTES
    """Frames that are held before they are delivered; a clip larger than that is held alone."""
    threads: int = 2

    def __post_init__(self) -> None:
        """Check that the numbers make sense.

        Raises:
            ValueError: one does not.
        """
        if not 0 <= self.rank < self.num_ranks:
            raise ValueError(
                f"rank must be 0 to num_ranks - 1, got {self.rank} of {self.num_ranks}"
            )
        for name in ("threads", "read_ahead_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.rounds is not None and self.rounds < 0:
            raise ValueError(f"rounds must not be negative, got {self.rounds}")


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A row with its frames."""

    row: ClipRow
    frames: NDArray[np.uint8]
    """[time, height, width, 3], RGB, read-only."""
    turn: int
    """The round of the stream, from 0."""


@dataclass(frozen=True, slots=True)
class _Files:
    """A clip as it lies in its shard."""

    images: tuple[bytes, ...]
    held_bytes: int
    """What it takes in memory until it is delivered."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A clip whose files are being read or were read."""

    turn: int
    row: ClipRow
    files: Future[_Files]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A clip that is being decoded or was decoded."""

    turn: int
    row: ClipRow
    held_bytes: int
    frames: "Future[NDArray[np.uint8]]"


class ClipReader:
    """An iterator over rows with their frames; a context manager, to stop reading ahead."""

    def __init__(self, dataset: ClipDataset, rows: Sequence[ClipRow], plan: ReadPlan) -> None:
        """Read these rows of the dataset, from the first place on; nothing is read yet.

        Raises:
            InvalidInput: there are no rows.
        """
        if not rows:
            raise InvalidInput(f"no rows of dataset {dataset.digest[:12]} to read: choose others")
        self._dataset = dataset
        self._plan = plan
        self._stream = ShuffledStream(rows, plan.seed)
        self._end = math.inf if plan.rounds is None else plan.rounds * len(rows)
        identity = [dataset.digest, plan.seed, [row.row_id for row in rows]]
        self._dealt = ReaderPosition(sha256_of(identity)[:16])
        self._places: Iterator[int] = iter(())
        self._lock = threading.RLock()
        self._closed = False
        self._pool = ThreadPoolExecutor(plan.threads, thread_name_prefix="assay-reader")
        self._begin()

    def __iter__(self) -> Iterator[ReadClip]:
        """Return the reader itself."""
        return self

    def __next__(self) -> ReadClip:
        """Return the next row of this rank's share.

        Raises:
            StoreError: the row cannot be read; it does not count as delivered.
        """
        clip = self._next_decoded()
        frames = clip.frames.result()
        with self._lock:
            self._decoded.popleft()
            self._held_bytes -= clip.held_bytes
            self._num_delivered += 1
        self._read_ahead()
        return ReadClip(clip.row, frames, clip.turn)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading ahead."""
        self.close()

    def close(self) -> None:
        """Stop reading ahead and forget what was not delivered; the position stays known."""
        with self._lock:
            self._closed = True
            self._places = iter(())
            self._read.clear()
            self._decoded.clear()
            self._held_bytes = 0
        self._pool.shutdown(cancel_futures=True)

    @property
    def held_bytes(self) -> int:
        """What is being decoded or waits to be delivered, in bytes.

        At most the plan's `read_ahead_bytes`, or one clip if a clip is larger. Beyond it, the
        compressed files of as many clips as there are threads are held.
        """
        return self._held_bytes

    def position(self) -> dict[str, Any]:
        """Return what was delivered to this rank so far, as a small plain value.

        A row counts once it was returned, not when it was read ahead: save the position when the
        rows that were returned have done their work.
        """
        ranks = range(self._plan.num_ranks)
        counts = tuple(self._num_delivered if r == self._plan.rank else None for r in ranks)
        return replace(self._dealt, delivered=counts).to_json()

    def restore(self, positions: Sequence[object]) -> None:
        """Go on with the rows that were not delivered, dealt anew to this reader's ranks.

        Args:
            positions: what `position` returned to all ranks that read at the same time, however
                many they were; every rank is given all of them.

        Raises:
            InvalidInput: a rank's is missing, or one is of other rows or another seed.
        """
        dealt = together([ReaderPosition.from_json(value) for value in positions])
        if dealt.stream != self._dealt.stream:
            raise InvalidInput(
                f"the position is of other rows or of another order (stream {dealt.stream}, here "
                f"{self._dealt.stream}): restore with the dataset, rows and seed that it is of, or "
                "start from the beginning"
            )
        with self._lock:
            started: list[Future[Any]] = [clip.files for clip in self._read]
            started += [clip.frames for clip in self._decoded]
            self._dealt = dealt
            self._begin()
        for future in started:
            future.cancel()

    def _begin(self) -> None:
        """Start with the first open place of this rank's share."""
        share = self._dealt.share(self._plan.rank, self._plan.num_ranks)
        end = self._end
        self._places = itertools.takewhile(lambda place: place < end, share)
        self._read: deque[_Read] = deque()
        self._decoded: deque[_Decoded] = deque()
        self._held_bytes = 0
        self._num_delivered = 0

    def _next_decoded(self) -> _Decoded:
        """Wait until the next clip is being decoded, and return it."""
        if self._closed:
            raise ValueError("the reader is closed: nothing more can be read from it")
        self._read_ahead()
        with self._lock:
            if self._decoded:
                return self._decoded[0]
            if not self._read:
                raise StopIteration
            files = self._read[0].files
        files.result()
        self._read_ahead()
        return self._decoded[0]

    def _read_ahead(self) -> None:
        """Have the next files read, and those decoded that may be; wait for nothing."""
        with self._lock:
            while True:
                while len(self._read) < self._plan.threads:
                    place = next(self._places, None)
                    if place is None:
                        break
                    self._start_reading(*self._stream.at(place))
                if not self._may_decode():
                    return
                clip = self._read.popleft()
                found = clip.files.result()
                self._held_bytes += found.held_bytes
                frames = self._pool.submit(self._dataset.decode, clip.row.row_id, found.images)
                self._decoded.append(_Decoded(clip.turn, clip.row, found.held_bytes, frames))

    def _start_reading(self, turn: int, row: ClipRow) -> None:
        """Have the files of a row read, and go on when they are."""
        files = self._pool.submit(self._read_files, row.row_id)
        self._read.append(_Read(turn, row, files))
        files.add_done_callback(self._go_on)

    def _go_on(self, files: Future[_Files]) -> None:
        """Read further ahead. Runs in a thread: whoever uses the rows may be busy with one."""
        with contextlib.suppress(RuntimeError):  # No work is taken on when the process ends.
            self._read_ahead()

    def _may_decode(self) -> bool:
        """Tell whether the next clip's files are there and may be decoded now."""
        if not self._read:
            return False
        files = self._read[0].files
        if not files.done() or files.exception() is not None:
            return False
        if not self._decoded:
            return True
        held_bytes = self._held_bytes + files.result().held_bytes
        few = len(self._decoded) < READ_AHEAD_CLIPS
        return few and held_bytes <= self._plan.read_ahead_bytes

    def _read_files(self, row_id: str) -> _Files:
        """Read a clip's files. Runs in a thread."""
        images = self._dataset.images(row_id)
        compressed_bytes = sum(len(image) for image in images)
        return _Files(images, compressed_bytes + self._dataset.decoded_bytes(row_id, images))
