"""Reading video files: what they are, and their frames by time. Run it where a crash does no harm.

Times are seconds from the first frame. Frames are uint8 [height, width, 3], RGB, turned upright.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import av
import decord
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo

Frame = NDArray[np.uint8]
T = TypeVar("T")

SAME_TIME_SECONDS = 1e-3
"""A frame this much after a timestamp still counts as at it: containers round their clocks."""
SANE_SECONDS = 1e9
"""Later times come from a container that has none."""
BATCH_BYTES = 128 * 2**20
"""Decoded frames held at once, about."""

decord.logging.set_level(decord.logging.QUIET)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container and the first frame say; the frames themselves may say otherwise."""

    duration_seconds: float | None
    """Declared duration of the picture; None when the container does not tell."""
    fps: float
    """Average frames per second; 0 when unknown."""
    width: int
    """Pixels, upright."""
    height: int
    """Pixels, upright."""
    rotation_degrees: int
    """How far the stored picture must be turned counter-clockwise to be upright."""
    codec: str
    pixel_format: str


class Reader(Protocol):
    """An opened video."""

    starts_seconds: NDArray[np.float64]
    """When each frame begins, ascending from 0."""
    duration_seconds: float
    """When the last frame ends."""

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames of these ascending indices."""
        ...


def probe(path: Path) -> VideoInfo:
    """Return what a video file says of itself.

    Raises:
        UnusableVideo: it is no video, has no picture, or its first frame cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            stream = _picture_stream(container)
            frame = next(container.decode(stream), None)
            if frame is None:
                raise UnusableVideo(DropReason.CORRUPT, "it has no frame")
            rotation = frame.rotation % 360
            sideways = rotation in (90, 270)
            return VideoInfo(
                duration_seconds=_declared_seconds(container, stream),
                fps=float(stream.average_rate or 0),
                width=frame.height if sideways else frame.width,
                height=frame.width if sideways else frame.height,
                rotation_degrees=rotation,
                codec=stream.codec_context.name,
                pixel_format=frame.format.name,
            )
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UnusableVideo(DropReason.CORRUPT, f"PyAV: {error}") from error


def decode_frames(path: Path, timestamps_seconds: Sequence[float]) -> Frame:
    """Return the frames shown at these ascending times, uint8 [time, height, width, 3].

    Raises:
        UnusableVideo: neither decord nor PyAV can decode it.
    """
    return read(
        path,
        lambda reader: np.stack(list(reader.frames(frames_at(reader, timestamps_seconds)))),
    )


def read(path: Path, use: Callable[[Reader], T]) -> T:
    """Return what `use` makes of the video, read by decord or, if that fails, by PyAV.

    Raises:
        UnusableVideo: neither can read it; also whatever `use` raises as such.
    """
    try:
        return use(DecordReader(path))
    except decord.DECORDError:
        pass
    try:
        return use(AvReader(path))
    except av.error.FFmpegError as error:
        raise UnusableVideo(DropReason.CORRUPT, f"decord and PyAV failed: {error}") from error


def frames_at(reader: Reader, timestamps_seconds: Sequence[float]) -> list[int]:
    """Return the index of the last frame that begins at or before each timestamp."""
    times = np.asarray(timestamps_seconds) + SAME_TIME_SECONDS
    found = np.searchsorted(reader.starts_seconds, times, side="right") - 1
    return [int(index) for index in np.maximum(found, 0)]


class DecordReader:
    """A video opened by decord, which turns frames upright by itself."""

    def __init__(self, path: Path) -> None:
        """Open the file and read the times of all frames.

        Raises:
            decord.DECORDError: decord cannot.
        """
        try:
            self._video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        except (RuntimeError, AssertionError) as error:
            raise decord.DECORDError(str(error)) from error
        starts = self._video.get_frame_timestamp(range(len(self._video)))[:, 0].astype(np.float64)
        if not _usable(starts):
            # It seeks by these times: frames would be other ones than asked for, without an error.
            raise decord.DECORDError("the container has no usable times")
        self.starts_seconds, self.duration_seconds = _timeline(
            starts, float(self._video.get_avg_fps())
        )

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames of these ascending indices."""
        if not indices:
            return
        first: Frame = self._video.get_batch(indices[:1]).asnumpy()[0]
        yield first
        step = max(1, BATCH_BYTES // first.nbytes)
        for start in range(1, len(indices), step):
            yield from self._video.get_batch(indices[start : start + step]).asnumpy()


class AvReader:
    """A video opened by PyAV. Decodes from the start, damaged frames are errors."""

    def __init__(self, path: Path) -> None:
        """Open the file and read the times of all frames.

        Raises:
            av.error.FFmpegError: PyAV cannot.
        """
        self._path = path
        with av.open(str(path)) as container:
            stream = _picture_stream(container)
            packets = [p for p in container.demux(stream) if p.size]
            if not packets:
                raise UnusableVideo(DropReason.CORRUPT, "it has no frame")
            ticks = [np.nan if p.pts is None else float(p.pts) for p in packets]
            starts = np.sort(np.asarray(ticks)) * float(stream.time_base or 1)
            fps = float(stream.average_rate or 0)
        self.starts_seconds, self.duration_seconds = _timeline(starts, fps)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames of these ascending indices."""
        wanted = iter(indices)
        index = next(wanted, None)
        with av.open(str(self._path)) as container:
            for position, frame in enumerate(container.decode(_picture_stream(container))):
                if position != index:
                    continue
                if frame.is_corrupt:
                    break
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                while index == position:
                    yield np.ascontiguousarray(upright)
                    index = next(wanted, None)
                if index is None:
                    return
        if index is not None:
            raise UnusableVideo(DropReason.CORRUPT, f"frame {index} cannot be decoded")


def _picture_stream(container: "av.container.InputContainer") -> VideoStream:
    """Return the first stream of moving pictures; cover art of a sound file is none."""
    stream: VideoStream
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise UnusableVideo(DropReason.NO_VIDEO_STREAM, "it has no stream of moving pictures")


def _declared_seconds(
    container: "av.container.InputContainer", stream: VideoStream
) -> float | None:
    """Return how long the picture is said to be."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def _timeline(starts: NDArray[np.float64], fps: float) -> tuple[NDArray[np.float64], float]:
    """Return when frames begin, from 0, and when the last one ends.

    Containers without usable times (AVI has none) are taken to run at their average rate.
    """
    gap = 1 / (fps if fps > 0 else 25.0)
    evenly = np.arange(len(starts), dtype=np.float64) * gap
    times: NDArray[np.float64] = starts - starts[0] if _usable(starts) else evenly
    last_gap = float(np.median(np.diff(times))) if len(times) > 1 else gap
    return times, round(float(times[-1]) + last_gap, 6)


def _usable(starts: NDArray[np.float64]) -> bool:
    """Tell whether times are a clock's: from a sane start, never backwards, not standing still."""
    sane = np.isfinite(starts).all() and abs(starts[0]) < SANE_SECONDS
    return bool(sane and (np.diff(starts) >= 0).all() and starts[-1] > starts[0])
