"""What the numbers of stored pictures mean as colours, and the filters that make all videos alike.

Numbers of matrices, transfers and primaries are those of ITU-T H.273, as FFmpeg has them.
"""

from dataclasses import dataclass
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

_UNKNOWN = frozenset({0, 2, 3})
"""Not said: `unspecified`, or a number that is reserved."""
_BT709, _BT2020 = 1, 9
_SCALED = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9})
"""Matrices that the filter `scale` takes; it refuses others, which `zscale` converts after it."""
_HDR_TRANSFERS = frozenset({16, 18})
"""PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)."""
WHITE_NITS, PEAK_NITS = 203, 1000
"""Luminance of white paper and of the brightest light in HDR.

Source: ITU-R BT.2408 for SDR's white, BT.2100 for the peak of HLG's reference display."""
_SDR = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709:"
SAME_LOOK = (
    "setsar=1",
    f"{_SDR}chroma_location=left:field_mode=prog",
    # Light levels, Dolby Vision, captions, time codes: the encoder would pass them on.
    "sidedata=mode=delete",
)
"""Filters after which nothing but the picture is left."""


@dataclass(frozen=True, slots=True)
class Colours:
    """What a decoded frame says of its numbers."""

    matrix: int
    transfer: int
    primaries: int
    is_rgb: bool = False
    has_alpha: bool = False

    @classmethod
    def of_frame(cls, frame: "av.VideoFrame") -> Self:
        """Read them."""
        return cls(
            matrix=int(frame.colorspace),
            transfer=int(frame.color_trc),
            primaries=int(frame.color_primaries),
            is_rgb=frame.format.is_rgb,
            has_alpha=has_alpha(frame.format),
        )

    @property
    def is_hdr(self) -> bool:
        """Whether it must be tone-mapped for a screen without HDR."""
        return self.transfer in _HDR_TRANSFERS

    def filters(self, width: int, height: int) -> tuple[str, ...]:
        """Return ffmpeg's filters that make BT.709 in limited range of it, in this size.

        SDR keeps its red, green and blue, as players and our readers show them, but for primaries
        other than BT.709's: those are converted. A matrix that is not said is BT.601's, FFmpeg's
        rule and our readers'. The curve of SDR (gamma) is not touched: screens know one. HDR is
        mapped so that white paper and all that is darker stays about as bright as in SDR.
        Transparent becomes black.
        """
        black = ("format=gbrap12le", "premultiply=inplace=1") if self.has_alpha else ()
        untold = () if self.matrix in _SCALED else ("setparams=colorspace=bt709",)
        scaled = f"scale={width}:{height}:flags=bicubic:out_range=tv:out_chroma_loc=left"
        if self.is_hdr:
            return (*untold, *black, *self._tone_mapped(scaled), "format=yuv420p10le")
        converted: tuple[str, ...] = ()
        if untold or self.primaries not in _UNKNOWN | {_BT709}:
            same = "rin=tv:r=tv:tin=bt709:t=bt709:m=bt709:p=bt709"
            matrix = self.matrix if untold and not black else _BT709
            primaries = _BT709 if self.primaries in _UNKNOWN else self.primaries
            converted = ("format=yuv444p12le", f"zscale={same}:min={matrix}:pin={primaries}")
        scaled += ":out_color_matrix=bt709"
        return (*untold, *black, scaled, *converted, "format=yuv420p10le")

    def _tone_mapped(self, scaled: str) -> tuple[str, ...]:
        """Return the filters from PQ or HLG to BT.709, by linear light.

        Source: the chain of FFmpeg's documentation of `tonemap`. Its curve `mobius` leaves what is
        below 0.3 of white alone and bends the rest up to the peak into what SDR has.
        """
        primaries = _BT2020 if self.primaries in _UNKNOWN else self.primaries
        matrix = _BT2020 if self.matrix in _UNKNOWN else self.matrix
        if self.is_rgb or self.has_alpha:
            matrix, scaled = _BT2020, f"{scaled}:out_color_matrix=bt2020"
        read = f"rin=tv:min={matrix}:tin={self.transfer}:pin={primaries}"
        return (
            scaled,
            "format=yuv444p12le",
            f"zscale={read}:t=linear:npl={WHITE_NITS}",
            "format=gbrpf32le",
            "zscale=p=bt709",
            f"tonemap=mobius:desat=0:peak={PEAK_NITS / WHITE_NITS:.4f}",
            "zscale=t=bt709:m=bt709:r=tv",
        )


def has_alpha(pixels: "av.VideoFormat") -> bool:
    """Tell whether pixels of this format may be transparent."""
    return any(component.is_alpha for component in pixels.components)


def rgb_of(frame: "av.VideoFrame") -> NDArray[np.uint8]:
    """Return the stored picture, [height, width, 3]; what is transparent is black."""
    # Colours of more than 8 bits are spread over pixels without smoothing, nearest to decord.
    if not has_alpha(frame.format):
        opaque: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", interpolation="POINT")
        return opaque
    pixels = frame.to_ndarray(format="rgba", interpolation="POINT").astype(np.uint16)
    on_black: NDArray[np.uint8] = ((pixels[..., :3] * pixels[..., 3:] + 127) // 255).astype(
        np.uint8
    )
    return on_black
