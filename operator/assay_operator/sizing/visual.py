"""How many visual tokens, patches and bytes a clip is, by its dataset's frame plan.

The rule for a known size is that of `assay_data.video.frames` (this package may not import it); a
test compares the two.
"""

import math
from dataclasses import dataclass

from assay_api import Dataset, FramePlan
from assay_operator.sizing.shape import PATCH_VALUES, PATCHES_PER_TOKEN

PIXELS_PER_TOKEN = 28 * 28
"""Pixels of a frame that become one token: 2 x 2 patches of 14 x 14."""
FRAMES_PER_SLICE = 2
"""Frames that become one slice of tokens."""
_SIDE = 28


@dataclass(frozen=True, slots=True)
class Clip:
    """What the model sees of one clip."""

    tokens: int
    """Visual tokens in the prompt."""
    marks: int
    """Tokens around them."""
    exact: bool = True
    """Whether the frames' size is known; otherwise the tokens are the most that there can be."""

    @property
    def patches(self) -> int:
        """Patches that the vision tower takes."""
        return self.tokens * PATCHES_PER_TOKEN

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the patches' values: float32, whatever the model's precision."""
        return self.patches * PATCH_VALUES * 4


def clip_of(dataset: Dataset, size: tuple[int, int] | None, frames_as_images: int = 0) -> Clip:
    """Return what the model sees of a clip of the dataset.

    Args:
        dataset: the dataset, for its frame plan.
        size: width and height of the source's frames in pixels, if known.
        frames_as_images: 0: the clip as a video; k: k of its frames as images.
    """
    plan, synthetic = dataset.spec.frames, dataset.spec.source.synthetic
    if synthetic is not None:
        size = (synthetic.width_pixels, synthetic.width_pixels)
    per_slice = tokens_of_frame(plan, size) if size else plan.max_pixels // PIXELS_PER_TOKEN
    # An image is a slice of its own: the same frame twice.
    slices = min(frames_as_images, plan.count) or plan.count // FRAMES_PER_SLICE
    marks = 2 * (slices if frames_as_images else 1)
    return Clip(tokens=slices * per_slice, marks=marks, exact=size is not None)


def tokens_of_frame(plan: FramePlan, size: tuple[int, int]) -> int:
    """Return the tokens of a slice of frames that have this width and height before resizing.

    Source:
        `smart_resize` of transformers 5.19 (models/qwen2_vl), as `choose_size` of
        `assay_data.video.frames` has it.

    Example:
        >>> tokens_of_frame(FramePlan(max_pixels=147_456), (1024, 1024))  # 13 x 13
        169
    """
    sides = [round(side / _SIDE) for side in size]
    if math.prod(sides) * PIXELS_PER_TOKEN > plan.max_pixels:
        shrink = math.sqrt(math.prod(size) / plan.max_pixels)
        sides = [max(1, math.floor(side / shrink / _SIDE)) for side in size]
    elif math.prod(sides) * PIXELS_PER_TOKEN < plan.min_pixels:
        grow = math.sqrt(plan.min_pixels / math.prod(size))
        sides = [math.ceil(side * grow / _SIDE) for side in size]
    return math.prod(sides)
