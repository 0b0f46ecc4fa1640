"""Which of a file's tracks is the video: one answer for every reader.

The rule. Cover art and thumbnails, as the container marks them, are never the video. Neither is a
track that moves for less than half as long as the longest: a preview, or a still picture that the
container does not mark. Of the others the first of these decides: the container shows it by default
(in MP4 and MOV: it is enabled); it has the most pixels; it comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from assay_data.drops import DropReason, UnusableVideo
from assay_data.video.marks import Mark
from assay_data.video.timeline import Timeline

_NEVER = Disposition.attached_pic | Disposition.timed_thumbnails
_LEAST_SHARE = 0.5
"""Of the longest track's time."""


@dataclass(frozen=True, slots=True)
class Track:
    """A track of pictures and what decides whether it is the video."""

    index: int
    """FFmpeg's number of the stream, among streams of all kinds."""
    is_default: bool
    pixels: int
    """Width times height."""
    timeline: Timeline


def picture_streams(container: "av.container.InputContainer") -> list[VideoStream]:
    """Return the streams one of which is the video.

    Raises:
        UnusableVideo: there is none, or one that is shown by default has an unknown codec.
    """
    streams = [s for s in container.streams.video if not s.disposition & _NEVER]
    if not streams:
        raise UnusableVideo(DropReason.NO_VIDEO_STREAM, "it has no stream of moving pictures")
    known = [stream for stream in streams if stream.codec_context is not None]
    for stream in streams:
        if stream not in known and (not known or stream.disposition & Disposition.default):
            which = "its codec" if len(streams) == 1 else f"the codec of its track {stream.index}"
            raise UnusableVideo(DropReason.UNSUPPORTED, f"{which} is not known")
    return [stream_of(container, stream.index) for stream in known]


def stream_of(container: "av.container.InputContainer", index: int) -> VideoStream:
    """Return a stream of pictures, by FFmpeg's number, to be decoded by one thread."""
    stream: VideoStream
    (stream,) = (stream for stream in container.streams.video if stream.index == index)
    # By default one for each core, in each of as many workers: too many for their memory.
    stream.codec_context.thread_count = 1
    return stream


def choose_track(
    container: "av.container.InputContainer",
    marks: Mapping[int, Sequence[Mark]],
    keys: Mapping[int, "av.Packet"],
) -> Track:
    """Return the track that is the video.

    Args:
        container: an opened file.
        marks: of all packets of each of `picture_streams`, by its number.
        keys: the first packet of each from which a decoder can start, by its number.

    Raises:
        UnusableVideo: none of them has a frame, or a clock that starts anew where it may not.
    """
    tracks: list[Track] = []
    without_frames: list[UnusableVideo] = []
    for index, own in marks.items():
        stream = stream_of(container, index)
        try:
            timeline = Timeline.of(own, stream, container.format)
        except UnusableVideo as error:
            if error.reason is not DropReason.CORRUPT:
                raise
            without_frames.append(error)
        else:
            is_default = bool(stream.disposition & Disposition.default)
            tracks.append(Track(index, is_default, _pixels(stream, keys[index]), timeline))
    if not tracks:
        raise without_frames[0]
    return best_of(tracks)


def best_of(tracks: Sequence[Track]) -> Track:
    """Return the one of at least one track that is the video."""
    longest = max(_moving_seconds(track) for track in tracks)
    long = [track for track in tracks if _moving_seconds(track) >= _LEAST_SHARE * longest]
    return max(long, key=lambda track: (track.is_default, track.pixels, -track.index))


def is_decords_track(container: "av.container.InputContainer", stream: VideoStream) -> bool:
    """Tell whether decord, which can't be told a track, is sure to open this one.

    Source:
        `av_find_best_stream` of FFmpeg 4.2's libavformat/utils.c: the highest of these numbers is
        taken; what decides between equal ones depends on how much of the file was looked at.
    """
    others = [_decords_liking(s) for s in container.streams.video if s.index != stream.index]
    return all(_decords_liking(stream) > liking for liking in others)


def _decords_liking(stream: VideoStream) -> int:
    impaired = Disposition.hearing_impaired | Disposition.visual_impaired
    return bool(stream.disposition & Disposition.default) - bool(stream.disposition & impaired)


def _pixels(stream: VideoStream, key: "av.Packet") -> int:
    """Return width times height, of the first frame if FFmpeg has not looked far enough to know."""
    context = stream.codec_context
    if not context.width:
        try:
            for packet in (key, None):
                stream.decode(packet)
        except av.error.InvalidDataError:
            return 0
        finally:
            context.flush_buffers()
    return context.width * context.height


def _moving_seconds(track: Track) -> float:
    """Return the time from the first frame to the last: 0 for a still picture."""
    return float(track.timeline.starts_seconds[-1])
