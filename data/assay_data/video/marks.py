"""What the packets of a stream say of its frames. Packets are read, not decoded."""

from dataclasses import dataclass, replace
from typing import Self

import av
from av.video.stream import VideoStream

_VP8_SHOWN = 0x10
"""Bit of a VP8 frame's first byte; frames without it are never shown."""
_H264_TYPE, _H264_IDR = 0x1F, 5
"""Bits with the type of an H.264 unit; the type of a picture that needs no earlier one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a packet says of its frame. Times are in ticks of the stream's clock."""

    pts: int | None
    dts: int | None
    is_key: bool
    """A decoder can start here, or some frames before what it then gets right."""
    is_refresh: bool
    """A key that takes some frames to get right."""
    is_shown: bool
    """False for frames that an edit list leaves out, or that only help to decode others."""

    @classmethod
    def of(cls, packet: "av.Packet", stream: VideoStream) -> Self:
        """Read a packet of the stream."""
        context = stream.codec_context
        hidden = context.name == "vp8" and not bytes(packet)[0] & _VP8_SHOWN
        is_h264_key = packet.is_keyframe and context.name == "h264"
        return cls(
            pts=packet.pts,
            dts=packet.dts,
            is_key=bool(packet.is_keyframe),
            is_refresh=is_h264_key and not _has_idr(packet, context.extradata),
            is_shown=not (hidden or packet.is_discard),
        )

    @property
    def time(self) -> int | None:
        """When it is decoded, or else when it is shown."""
        return self.pts if self.dts is None else self.dts

    def shifted(self, ticks: int) -> Self:
        """Return the same by a clock that is this much ahead."""
        pts, dts = (None if time is None else time + ticks for time in (self.pts, self.dts))
        return replace(self, pts=pts, dts=dts)


def _has_idr(packet: "av.Packet", header: bytes | None) -> bool:
    """Tell whether a packet of H.264, units after their lengths, has a picture that starts anew."""
    data, position = bytes(packet), 0
    num_bytes = (header[4] & 3) + 1 if header and len(header) > 4 and header[0] == 1 else 4
    while position + num_bytes < len(data):
        if data[position + num_bytes] & _H264_TYPE == _H264_IDR:
            return True
        position += num_bytes + int.from_bytes(data[position : position + num_bytes])
    return False
