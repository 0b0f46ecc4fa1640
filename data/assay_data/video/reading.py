"""Reading video files: what they are, and their frames by time. Run it where a crash does no harm.

Times are seconds from the first frame. Frames are uint8 [height, width, 3], RGB, turned upright.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar

import av
import decord
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.colours import Colours, has_alpha, rgb_of
from assay_data.video.declared import declared_seconds
from assay_data.video.marks import Mark
from assay_data.video.orientation import Orientation
from assay_data.video.parts import Part
from assay_data.video.timeline import Timeline
from assay_data.video.track import (
    choose_track,
    is_decords_track,
    picture_streams,
    stream_of,
)

Frame = NDArray[np.uint8]
T = TypeVar("T")

SAME_TIME_SECONDS = 1e-3
"""A frame this much after a timestamp still counts as at it: containers round their clocks."""
BATCH_BYTES = 128 * 2**20
"""Decoded frames held at once, about."""
REORDERED_FRAMES = 32
"""A decoder returns a frame at most this many after a later one."""

_MESSAGES = {"h264": 6, "hevc": 39}
"""Types of the units that may say an orientation, by codec."""

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
    orientation: Orientation
    """How the stored picture must be turned and mirrored."""
    track: int
    """FFmpeg's number of the stream that is the video."""
    begin_seconds: float
    """When the first frame begins by the container's clock."""
    codec: str
    pixel_format: str
    colours: Colours


@dataclass(frozen=True, slots=True)
class Video:
    """A file whose packets were read."""

    path: Path
    track: int
    """FFmpeg's number of the stream that is the video."""
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
    return describe(examine(path))


def describe(video: Video) -> VideoInfo:
    """Return what a video says of itself, and its first frame.

    Raises:
        UnusableVideo: its first frame cannot be decoded.
    """
    with _opened(video.path) as container:
        stream = stream_of(container, video.track)
        first = next(_decoded(container, stream, video.timeline.parts), None)
        if first is None:
            raise UnusableVideo(DropReason.CORRUPT, "it has no frame that can be decoded")
        _, _, frame, orientation = first
        sides = (frame.width, frame.height)
        width, height = sides[::-1] if orientation.is_transposed else sides
        return VideoInfo(
            duration_seconds=video.declared_seconds,
            fps=float(stream.average_rate or 0),
            width=width,
            height=height,
            orientation=orientation,
            track=video.track,
            begin_seconds=video.timeline.begin_seconds,
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            colours=Colours.of_frame(frame),
        )


def examine(path: Path) -> Video:
    """Read all packets of a video, and decode at most its first frame.

    Raises:
        UnusableVideo: it is no video, has no picture, or cannot be read in one way only.
    """
    with _opened(path) as container:
        streams = {stream.index: stream for stream in picture_streams(container)}
        marks: dict[int, list[Mark]] = {index: [] for index in streams}
        keys: dict[int, av.Packet] = {}
        for packet in container.demux(*streams.values()):
            if packet.size:
                index = packet.stream_index
                marks[index].append(Mark.of(packet, streams[index]))
                if marks[index][-1].is_key:
                    keys.setdefault(index, packet)
        track = choose_track(container, marks, keys)
        stream, timeline = streams[track.index], track.timeline
        is_for_decord = (
            timeline.seeks_exactly
            and is_decords_track(container, stream)
            and _is_upright_by_decord(container.format.name, stream, keys[track.index])
            and not _may_be_transparent(stream)
        )
        return Video(
            path=path,
            track=track.index,
            declared_seconds=declared_seconds(container, stream, timeline.begin_seconds),
            frame_bytes=max(1, 3 * stream.codec_context.width * stream.codec_context.height),
            timeline=timeline,
            is_for_decord=is_for_decord,
        )


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
        video = video or examine(path)
        self._path, self._track, self._timeline = path, video.track, video.timeline
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
                decoded = next(self._decoded, None)
                if decoded is None or decoded[0] > index + REORDERED_FRAMES:
                    raise UnusableVideo(DropReason.CORRUPT, f"frame {index} cannot be decoded")
                position, frame, orientation = decoded
                self._last_index = max(self._last_index, position)
                if position in wanted and not frame.is_corrupt:
                    found[position] = orientation.upright(rgb_of(frame))
            yield found[index]
            found = {i: later for i, later in found.items() if i >= index}

    def _decode(self) -> Iterator[tuple[int, "av.VideoFrame", Orientation]]:
        """Yield every frame that has a place in the timeline, after its index."""
        timeline = self._timeline
        places = {tick: index for index, tick in enumerate(timeline.ticks or ())}
        with av.open(str(self._path)) as container:
            stream = stream_of(container, self._track)
            for part, count, frame, orientation in _decoded(container, stream, timeline.parts):
                if not places:
                    yield part.first_frame + count, frame, orientation
                elif frame.pts is not None:
                    index = places.get(frame.pts + part.shift_ticks, -1)
                    # What leads a part cannot be decoded; shifted, it may fall into the one before.
                    if index >= part.first_frame:
                        yield index, frame, orientation


@contextmanager
def _opened(path: Path) -> Iterator["av.container.InputContainer"]:
    """Open a file; what FFmpeg says against it makes it unusable."""
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise _meaning(error, "PyAV") from error


def _meaning(error: Exception, who: str) -> Exception:
    """Return the exception that a decoder's error means: bad file, or too little memory."""
    if getattr(error, "errno", None) == errno.ENOMEM:
        return MemoryError(str(error))
    return UnusableVideo(DropReason.CORRUPT, f"{who}: {error}")


def _decoded(
    container: "av.container.InputContainer", stream: VideoStream, parts: Sequence[Part]
) -> Iterator[tuple[Part, int, "av.VideoFrame", Orientation]]:
    """Yield every frame that can be decoded, after its part and its position in that.

    Its orientation follows.
    """
    packets = (packet for packet in container.demux(stream) if packet.size)
    depth = stream.codec_context.reorder_depth
    for part in parts:
        orientation = Orientation()
        own = islice(packets, part.num_undecodable, part.num_packets)
        frames = chain.from_iterable(map(stream.decode, chain(own, (None,))))
        for position, frame in enumerate(frames):
            orientation = Orientation.of_frame(frame) or orientation
            yield part, position, frame, orientation
        # The end of a part is not the end of the stream. FFmpeg forgets here how far frames are
        # out of order.
        stream.codec_context.flush_buffers()
        stream.codec_context.reorder_depth = depth


def _may_be_transparent(stream: VideoStream) -> bool:
    """Tell whether pictures have transparent parts, of which decord shows the hidden colours."""
    pixels = stream.codec_context.format
    return pixels is not None and has_alpha(pixels)


def _is_upright_by_decord(container: str, stream: VideoStream, key: "av.Packet") -> bool:
    """Tell whether decord shows pictures upright, by a packet from which a decoder can start.

    decord turns what the container of MP4 and MOV says, and knows nothing of mirrors, of other
    containers and of what the stream says.
    """
    orientation = _orientation(stream, key)
    if orientation is None or orientation == Orientation():
        return orientation is not None
    if not container.startswith("mov") or not orientation.is_turn:
        return False
    messages = _MESSAGES.get(stream.codec_context.name)
    return messages is None or _orientation(stream, key, messages) == orientation


def _orientation(
    stream: VideoStream, key: "av.Packet", without: int | None = None
) -> Orientation | None:
    """Return the orientation of a key frame, but for units of this type; None: it has no frame."""
    packets = [key]
    if without is not None:
        strip = BitStreamFilterContext(f"filter_units=remove_types={without}", stream)
        packets = [*strip.filter(key), *strip.filter(None)]
    try:
        frames = [frame for packet in (*packets, None) for frame in stream.decode(packet)]
    except av.error.InvalidDataError:
        return None
    finally:
        stream.codec_context.flush_buffers()
    return (Orientation.of_frame(frames[0]) or Orientation()) if frames else None
