"""Reading video files: what they are, and their frames by time. Run it where a crash does no harm.

Times are seconds from the first frame. Frames are uint8 [height, width, 3], RGB, turned upright.
"""

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar

import av
import decord
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.timeline import Mark, Timeline

Frame = NDArray[np.uint8]
T = TypeVar("T")

SAME_TIME_SECONDS = 1e-3
"""A frame this much after a timestamp still counts as at it: containers round their clocks."""
BATCH_BYTES = 128 * 2**20
"""Decoded frames held at once, about."""
REORDERED_FRAMES = 32
"""A decoder returns a frame at most this many after a later one."""

_TAGGED_DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""As Matroska files have it for each stream."""

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


@dataclass(frozen=True, slots=True)
class Video:
    """A file whose packets were read."""

    path: Path
    declared_seconds: float | None
    """Declared duration of the picture; None when the container does not tell."""
    frame_bytes: int
    """Of the pixels of a frame."""
    timeline: Timeline
    is_for_decord: bool
    """Whether decord returns the very frames that it is asked for, and upright."""


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
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream), None)
        if first is None:
            raise UnusableVideo(DropReason.CORRUPT, "it has no frame that can be decoded")
        rotation = first.rotation % 360
        sideways = rotation in (90, 270)
        return VideoInfo(
            duration_seconds=_declared_seconds(container, stream),
            fps=float(stream.average_rate or 0),
            width=first.height if sideways else first.width,
            height=first.width if sideways else first.height,
            rotation_degrees=rotation,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
        )


def examine(path: Path) -> Video:
    """Read all packets of a video, and decode nothing.

    Raises:
        UnusableVideo: it is no video, or has no picture.
    """
    with _opened(path) as (container, stream):
        marks = [Mark.of(packet, stream) for packet in container.demux(stream) if packet.size]
        timeline = Timeline.of(marks, stream, container.format.name)
        declared_seconds = _declared_seconds(container, stream)
        is_mov = container.format.name.startswith("mov")
        frame_bytes = max(1, 3 * stream.codec_context.width * stream.codec_context.height)
    # decord turns frames in MP4 and MOV only.
    upright = is_mov or not timeline.seeks_exactly or probe(path).rotation_degrees == 0
    exact = timeline.seeks_exactly and upright
    return Video(path, declared_seconds, frame_bytes, timeline, exact)


def decode_frames(path: Path, timestamps_seconds: Sequence[float]) -> Frame:
    """Return the frames shown at these ascending times, uint8 [time, height, width, 3].

    Raises:
        UnusableVideo: neither decord nor PyAV can decode it.
    """
    return read(
        examine(path),
        lambda reader: np.stack(list(reader.frames(frames_at(reader, timestamps_seconds)))),
    )


def read(video: Video, use: Callable[[Reader], T]) -> T:
    """Return what `use` makes of the video, read by decord or, if that cannot, by PyAV.

    Raises:
        UnusableVideo: neither can read it; also whatever `use` raises as such.
    """
    try:
        return use(DecordReader(video.path, video))
    except decord.DECORDError:
        pass
    try:
        return use(AvReader(video.path, video))
    except av.error.FFmpegError as error:
        raise _meaning(error, "decord and PyAV failed") from error


def frames_at(reader: Reader, timestamps_seconds: Sequence[float]) -> list[int]:
    """Return the index of the last frame that begins at or before each timestamp."""
    times = np.asarray(timestamps_seconds) + SAME_TIME_SECONDS
    found = np.searchsorted(reader.starts_seconds, times, side="right") - 1
    return [int(index) for index in np.maximum(found, 0)]


class DecordReader:
    """A video opened by decord, which turns frames upright by itself.

    Refuses videos of which decord would return other frames than asked for, without an error.
    """

    def __init__(self, path: Path, video: Video | None = None) -> None:
        """Open the file, of which `video` is what was found; None: look at it.

        Raises:
            decord.DECORDError: decord cannot.
            UnusableVideo: it is no video.
        """
        video = video or examine(path)
        if not video.is_for_decord:
            raise decord.DECORDError("it would return other frames than asked for")
        self.starts_seconds = video.timeline.starts_seconds
        self.duration_seconds = video.timeline.duration_seconds
        self._frame_bytes = video.frame_bytes
        try:
            self._video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        except (RuntimeError, AssertionError) as error:
            raise decord.DECORDError(str(error)) from error
        if len(self._video) != len(self.starts_seconds):
            raise decord.DECORDError("it counts other frames than there are")

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames of these ascending indices."""
        step = max(1, BATCH_BYTES // self._frame_bytes)
        for start in range(0, len(indices), step):
            yield from self._video.get_batch(indices[start : start + step]).asnumpy()


class AvReader:
    """A video opened by PyAV. Decodes from the start, once for calls that ask for later frames."""

    def __init__(self, path: Path, video: Video | None = None) -> None:
        """Take the times of all frames from `video`, what was found in the file; None: look at it.

        Raises:
            UnusableVideo: it is no video.
        """
        self._path = path
        self._timeline = (video or examine(path)).timeline
        self.starts_seconds = self._timeline.starts_seconds
        self.duration_seconds = self._timeline.duration_seconds
        self._decoded = self._decode()
        self._last_index = -1

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames of these ascending indices; a damaged or missing one is an error."""
        if indices and indices[0] <= self._last_index:
            self._decoded, self._last_index = self._decode(), -1
        wanted, found = set(indices), dict[int, Frame]()
        for index in indices:
            while index not in found:
                position, frame = next(self._decoded, (None, None))
                if position is None or frame is None or position > index + REORDERED_FRAMES:
                    raise UnusableVideo(DropReason.CORRUPT, f"frame {index} cannot be decoded")
                self._last_index = max(self._last_index, position)
                if position in wanted and not frame.is_corrupt:
                    found[position] = _upright(frame)
            yield found[index]
            found = {i: later for i, later in found.items() if i >= index}

    def _decode(self) -> Iterator[tuple[int, "av.VideoFrame"]]:
        """Yield every frame that has a place in the timeline, with its index."""
        ticks = self._timeline.ticks
        places = {tick: index for index, tick in enumerate(ticks or ())}
        with av.open(str(self._path)) as container:
            stream = _picture_stream(container)
            frames = _decoded(container, stream, self._timeline.num_undecodable)
            for position, frame in enumerate(frames):
                if ticks is None:
                    yield position, frame
                elif frame.pts in places:
                    yield places[frame.pts], frame


def _upright(frame: "av.VideoFrame") -> Frame:
    """Return the pixels of a frame, turned as it says."""
    # Colours of more than 8 bits are spread over pixels without smoothing, nearest to decord.
    pixels = frame.to_ndarray(format="rgb24", interpolation="POINT")
    turned = np.rot90(pixels, frame.rotation // 90)
    return np.ascontiguousarray(turned)


@contextmanager
def _opened(path: Path) -> Iterator[tuple["av.container.InputContainer", VideoStream]]:
    """Open a file and its moving picture; what FFmpeg says against it makes it unusable."""
    try:
        with av.open(str(path)) as container:
            yield container, _picture_stream(container)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise _meaning(error, "PyAV") from error


def _meaning(error: Exception, who: str) -> Exception:
    """Return the exception that a decoder's error means: bad file, or too little memory."""
    if getattr(error, "errno", None) == errno.ENOMEM:
        return MemoryError(str(error))
    return UnusableVideo(DropReason.CORRUPT, f"{who}: {error}")


def _picture_stream(container: "av.container.InputContainer") -> VideoStream:
    """Return the first stream of moving pictures; cover art of a sound file is none."""
    stream: VideoStream
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise UnusableVideo(DropReason.UNSUPPORTED, "its codec is not known")
        # By default one for each core, in each of as many workers: too many for their memory.
        stream.codec_context.thread_count = 1
        return stream
    raise UnusableVideo(DropReason.NO_VIDEO_STREAM, "it has no stream of moving pictures")


def _decoded(
    container: "av.container.InputContainer", stream: VideoStream, skip: int = 0
) -> Iterator["av.VideoFrame"]:
    """Yield every frame that can be decoded, but for this many packets at the start."""
    packets = (packet for packet in container.demux(stream) if packet.size)
    decodable = islice(packets, skip, None)
    return chain.from_iterable(map(stream.decode, chain(decodable, (None,))))


def _declared_seconds(
    container: "av.container.InputContainer", stream: VideoStream
) -> float | None:
    """Return how long the picture is said to be."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if tagged := _TAGGED_DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tagged.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None
