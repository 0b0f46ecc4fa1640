"""Turn a prompt and the frames of its clip into what the model's forward takes.

Axes used in this file:
    frame   sampled frames of one clip
    patch   14 x 14 pixel patches (two frames deep), as the vision tower takes them
    value   numbers of one patch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay_trainer.chat import shown_frames
from assay_trainer.models.positions import VisualSpan
from assay_trainer.records import Clip, Frames

if TYPE_CHECKING:
    # What only handles encoded prompts loads no transformers.
    from transformers import Qwen2_5_VLProcessor

VISUAL_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


@dataclass(frozen=True, slots=True)
class Visual:
    """What the vision tower sees of one prompt: one video, or several images."""

    kind: Literal["video", "image"]
    pixel_values: Float[Tensor, "patch value"]
    grid_thw: Int[Tensor, "media 3"]

    def to(self, device: torch.device) -> "Visual":
        """Return the same on another device."""
        return Visual(self.kind, self.pixel_values.to(device), self.grid_thw.to(device))


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as token ids, with its visual tokens in place."""

    token_ids: tuple[int, ...]
    spans: tuple[VisualSpan, ...]
    visual: Visual


class PromptEncoder:
    """Encodes prompts exactly as the sampler does, so that both see the same tokens."""

    def __init__(self, processor: "Qwen2_5_VLProcessor") -> None:
        """Take the tokenizer and the image and video processors of a model's folder."""
        self._processor = processor
        self._tokenizer = processor.tokenizer

    def encode(self, text: str, clip: Clip, *, frames_as_images: int = 0) -> EncodedPrompt:
        """Encode a prompt whose visual marks stand for the clip.

        Args:
            text: the prompt in the chat format, with one `<|video_pad|>`, or as many
                `<|image_pad|>` as `frames_as_images`.
            clip: the frames.
            frames_as_images: 0 shows the clip as a video, k shows k of its frames as images.

        Raises:
            ValueError: the number of visual marks in the text differs.
        """
        if frames_as_images:
            visual = self._images(
                clip.frames[list(shown_frames(len(clip.frames), frames_as_images))]
            )
            seconds_per_slice = 0.0
        else:
            visual = self._video(clip)
            seconds_per_slice = self._processor.video_processor.temporal_patch_size / clip.fps
        return self._place(text, visual, seconds_per_slice)

    def encode_completion(self, text: str) -> tuple[int, ...]:
        """Encode the text of a completion; its end token is part of the text."""
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _video(self, clip: Clip) -> Visual:
        video = torch.tensor(clip.frames).permute(0, 3, 1, 2)
        out = self._processor.video_processor(
            videos=[video], do_sample_frames=False, return_tensors="pt"
        )
        return Visual("video", out["pixel_values_videos"], out["video_grid_thw"])

    def _images(self, frames: Frames) -> Visual:
        images = list(torch.tensor(frames).permute(0, 3, 1, 2))
        out = self._processor.image_processor(images=images, return_tensors="pt")
        return Visual("image", out["pixel_values"], out["image_grid_thw"])

    def _place(self, text: str, visual: Visual, seconds_per_slice: float) -> EncodedPrompt:
        mark = f"<|{visual.kind}_pad|>"
        pieces = text.split(mark)
        if len(pieces) != len(visual.grid_thw) + 1:
            raise ValueError(
                f"the prompt has {len(pieces) - 1} marks {mark}, "
                f"but there are {len(visual.grid_thw)} {visual.kind}s to put there"
            )
        merge = self._processor.video_processor.merge_size
        mark_id = self._tokenizer.convert_tokens_to_ids(mark)
        ids = list(self.encode_completion(pieces[0]))
        spans = []
        for piece, grid in zip(pieces[1:], visual.grid_thw.tolist(), strict=True):
            merged = (grid[0], grid[1] // merge, grid[2] // merge)
            span = VisualSpan(len(ids), merged, seconds_per_slice)
            spans.append(span)
            ids += [mark_id] * span.num_tokens
            ids += self.encode_completion(piece)
        return EncodedPrompt(tuple(ids), tuple(spans), visual)


def completion_text(tokenizer: Any, token_ids: Sequence[int], *, ended: bool) -> str:
    """Return all that a model wrote, as text: special tokens and broken characters included.

    Args:
        tokenizer: the model's.
        token_ids: of the completion.
        ended: whether the last token is the one that ended it; that one alone is left off.
    """
    kept = token_ids[:-1] if ended else token_ids
    text: str = tokenizer.decode(
        list(kept), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text


def visual_token_ids(processor: "Qwen2_5_VLProcessor") -> tuple[int, ...]:
    """Return the ids that stand for visual content: a sampled one would have no content."""
    return tuple(processor.tokenizer.convert_tokens_to_ids(list(VISUAL_TOKENS)))
