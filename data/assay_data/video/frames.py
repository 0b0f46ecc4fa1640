"""Which frames of a clip the model sees, at which size, and how many tokens they become.

All sizes are in pixels, all times in seconds from the first frame of the video.
"""

import math
from collections.abc import Sequence

from assay_api import FramePlan

PATCH_PIXELS = 28
"""Sides are multiples of this: two patches of 14 pixels, merged by the vision tower."""
FRAMES_PER_TOKEN_GRID = 2
"""The vision tower merges two consecutive frames of a video."""
MAX_ASPECT_RATIO = 200
MIN_CLIP_SECONDS = 0.5
"""Less than this is no clip."""


def cut_clips(
    duration_seconds: float, clip_seconds: float | None, max_clips: int
) -> tuple[tuple[float, float], ...]:
    """Return start and end of each clip: consecutive, none shorter than half a second.

    Args:
        duration_seconds: length of the video.
        clip_seconds: length of a clip; None: the whole video is one clip.
        max_clips: clips after this many are left out.

    Example:
        >>> cut_clips(12.3, 5.0, 64)
        ((0.0, 5.0), (5.0, 10.0), (10.0, 12.3))
        >>> cut_clips(10.3, 5.0, 64)
        ((0.0, 5.0), (5.0, 10.0))
    """
    length = duration_seconds if clip_seconds is None else clip_seconds
    if duration_seconds < MIN_CLIP_SECONDS:
        return ()
    starts = (length * i for i in range(min(max_clips, math.ceil(duration_seconds / length))))
    bounds = ((start, min(start + length, duration_seconds)) for start in starts)
    return tuple((start, end) for start, end in bounds if end - start >= MIN_CLIP_SECONDS)


def choose_timestamps(
    plan: FramePlan, start_seconds: float, end_seconds: float
) -> tuple[tuple[float, ...], float]:
    """Return the times of the frames to take, and the frames per second that they amount to.

    At the plan's rate the last of `n` frames is `(n - 1) / fps` after the first; a clip that ends
    by then is divided into `n` equal parts and the first frame of each is taken.

    Raises:
        ValueError: the clip does not end after it starts.

    Example:
        >>> plan = FramePlan(count=4, fps=2.0)
        >>> choose_timestamps(plan, 10.0, 15.0)
        ((10.0, 10.5, 11.0, 11.5), 2.0)
        >>> choose_timestamps(plan, 0.0, 1.0)
        ((0.0, 0.25, 0.5, 0.75), 4.0)
    """
    length = end_seconds - start_seconds
    if length <= 0:
        raise ValueError(f"a clip from {start_seconds} s to {end_seconds} s has no length")
    fits = (plan.count - 1) / plan.fps < length
    fps = plan.fps if plan.sampling == "AtFps" and fits else plan.count / length
    return tuple(round(start_seconds + i / fps, 6) for i in range(plan.count)), fps


def choose_size(plan: FramePlan, width: int, height: int) -> tuple[int, int]:
    """Return width and height of a frame for the model, near its own, sides multiples of 28.

    The rule is that of Qwen2.5-VL's processor, which therefore changes nothing afterwards: round
    each side; beyond the most pixels shrink both and round down, below the least grow and round up.

    Raises:
        ValueError: one side is more than 200 times the other.

    Source:
        `smart_resize` of transformers 5.19, models/qwen2_vl.

    Example:
        >>> choose_size(FramePlan(max_pixels=147_456), 384, 384)
        (364, 364)
    """
    sides = (width, height)
    rounded = [round(side / PATCH_PIXELS) * PATCH_PIXELS for side in sides]
    if math.prod(rounded) > plan.max_pixels:
        shrink = math.sqrt(width * height / plan.max_pixels)
        rounded = [
            max(PATCH_PIXELS, math.floor(side / shrink / PATCH_PIXELS) * PATCH_PIXELS)
            for side in sides
        ]
    elif math.prod(rounded) < plan.min_pixels:
        grow = math.sqrt(plan.min_pixels / (width * height))
        rounded = [math.ceil(side * grow / PATCH_PIXELS) * PATCH_PIXELS for side in sides]
    # The processor looks at the rounded sides again: they too must not be a strip.
    if max(_aspect_ratio(sides), _aspect_ratio(rounded)) > MAX_ASPECT_RATIO:
        raise ValueError(
            f"a frame of {width}x{height} pixels is more than {MAX_ASPECT_RATIO} times as long "
            "as it is wide"
        )
    return rounded[0], rounded[1]


def _aspect_ratio(sides: Sequence[int]) -> float:
    return max(sides) / min(sides)


def visual_tokens(num_frames: int, width: int, height: int) -> int:
    """Return how many tokens a video of these frames takes in the prompt.

    Raises:
        ValueError: the frames are not an even number, or a side is not a multiple of 28.

    Example:
        >>> visual_tokens(16, 364, 364)  # 8 grids of 13 x 13
        1352
    """
    if num_frames % FRAMES_PER_TOKEN_GRID or width % PATCH_PIXELS or height % PATCH_PIXELS:
        raise ValueError(
            f"{num_frames} frames of {width}x{height} pixels: the number must be even and the "
            f"sides multiples of {PATCH_PIXELS}"
        )
    grids = num_frames // FRAMES_PER_TOKEN_GRID
    return grids * (width // PATCH_PIXELS) * (height // PATCH_PIXELS)
