"""Qwen2.5-VL: text, with one video or several pictures.

Axes used in this file:
    axis    time, height, width
    batch   completions in the micro-batch
    token   prompt and completion, right-padded
    hidden  width of the text model
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoProcessor,
    PreTrainedTokenizerBase,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from assay_data.dataset.rows import Turn
from assay_trainer.chat import conversation
from assay_trainer.families.batch import MicroBatch
from assay_trainer.families.float32_head import Float32Head
from assay_trainer.families.inputs import EncodedPrompt, Visual
from assay_trainer.families.mrope import VisualSpan, mrope_positions
from assay_trainer.families.vision_attention import attend_by_window_size
from assay_trainer.records import Clip, Frames, Media, Pictures, Shown


class Qwen25VlFamily:
    """Qwen2.5-VL, as transformers and vLLM have it."""

    # The vision tower has layers of the same names.
    text_layers = r".*language_model\."
    shows = frozenset(Shown)
    media_tokens = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )

    def load(self, folder: Path, dtype: torch.dtype) -> Qwen2_5_VLForConditionalGeneration:
        """Load the model, its vision tower's attention by windows of one size."""
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        model.config.use_cache = False
        attend_by_window_size(model)
        model.lm_head = Float32Head(model.lm_head)
        return model

    def freeze_vision_tower(self, model: Qwen2_5_VLForConditionalGeneration) -> None:
        """Keep the vision tower's weights as they are."""
        model.model.visual.requires_grad_(False)

    def processor(self, folder: Path) -> Qwen2_5_VLProcessor:
        """Return tokenizer, image and video processor."""
        return AutoProcessor.from_pretrained(folder)

    def tokenizer(self, processor: Qwen2_5_VLProcessor) -> PreTrainedTokenizerBase:
        """Return the tokenizer."""
        tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        return tokenizer

    def render(self, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> str:
        """Return a conversation in the format of Qwen2.5-VL's template, less its own system."""
        return conversation(turns)

    def encoder(self, processor: Qwen2_5_VLProcessor, config: Any) -> "Qwen25VlEncoder":
        """Return the encoder of prompts."""
        return Qwen25VlEncoder(processor, float(config.vision_config.tokens_per_second))

    def hidden_states(
        self, model: Qwen2_5_VLForConditionalGeneration, batch: MicroBatch
    ) -> Float[Tensor, "batch token hidden"]:
        """Run the rows through the model; the vision tower runs once a prompt."""
        features = _features(model, batch.visuals)
        shown: dict[str, list[Tensor]] = {}
        for index in batch.visual_of_row:
            if index is not None:
                shown.setdefault(batch.visuals[index].kind, []).extend(features[index])
        states: Tensor = model.model(
            input_ids=batch.input_ids,
            # Causal, and padding comes last: no token of interest can see it.
            attention_mask=None,
            position_ids=batch.positions,
            mm_encoder_outputs={
                kind: BaseModelOutputWithPooling(pooler_output=rows) for kind, rows in shown.items()
            },
            use_cache=False,
        ).last_hidden_state
        return states

    def sampler_prompt(
        self, text: str, media: Media, tokenizer: PreTrainedTokenizerBase
    ) -> Mapping[str, Any]:
        """Return text and media; vLLM puts as many tokens in the place of each mark."""
        match media:
            case Clip():
                return {"prompt": text, "multi_modal_data": {"video": _video(media)}}
            case Pictures():
                return {"prompt": text, "multi_modal_data": {"image": list(media.frames)}}
        return {"prompt": text}

    def sampler_arguments(self, max_pictures: int) -> Mapping[str, Any]:
        """Return how many media a prompt has at most."""
        return {"limit_mm_per_prompt": {"image": max_pictures, "video": 1}}


FAMILY = Qwen25VlFamily()


class Qwen25VlEncoder:
    """Encodes prompts exactly as vLLM does."""

    def __init__(self, processor: Qwen2_5_VLProcessor, tokens_per_second: float) -> None:
        """Take the processors of a model's folder, and its temporal positions per second."""
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._tokens_per_second = tokens_per_second

    def encode(self, text: str, media: Media) -> EncodedPrompt:
        """Encode a prompt with one `<|video_pad|>`, or an `<|image_pad|>` for each picture.

        Raises:
            ValueError: the number of visual marks in the text differs.
        """
        match media:
            case Clip():
                seconds = self._processor.video_processor.temporal_patch_size / media.fps
                return self._place(text, self._video(media), seconds)
            case Pictures():
                return self._place(text, self._images(media.frames), 0.0)
        ids = self.encode_completion(text)
        return EncodedPrompt(ids, mrope_positions(len(ids), (), self._tokens_per_second))

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
        mark = _mark(visual.kind)
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
        positions = mrope_positions(len(ids), spans, self._tokens_per_second)
        return EncodedPrompt(tuple(ids), positions, visual)


def _mark(kind: Literal["video", "image"]) -> str:
    return f"<|{kind}_pad|>"


def _video(clip: Clip) -> tuple[Frames, dict[str, Any]]:
    """Return a clip as vLLM takes it: frames that are not to be sampled again, and their rate."""
    num_frames = len(clip.frames)
    metadata = {
        "fps": clip.fps,
        "duration": num_frames / clip.fps,
        "total_num_frames": num_frames,
        "frames_indices": list(range(num_frames)),
        "video_backend": "assay",
        "do_sample_frames": False,
    }
    return clip.frames.copy(), metadata


def _features(
    model: Qwen2_5_VLForConditionalGeneration, visuals: Sequence[Visual]
) -> list[tuple[Tensor, ...]]:
    """Run the vision tower once over all visuals of a kind; return each one's, per medium."""
    trained = any(weight.requires_grad for weight in model.model.visual.parameters())
    features: dict[int, tuple[Tensor, ...]] = {}
    encoders = {
        "video": model.model.get_video_features,
        "image": model.model.get_image_features,
    }
    for kind, encode in encoders.items():
        chosen = {index: visual for index, visual in enumerate(visuals) if visual.kind == kind}
        if not chosen:
            continue
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            pixels = torch.cat([visual.pixel_values for visual in chosen.values()])
            grids = torch.cat([visual.grid_thw for visual in chosen.values()])
            encoded = iter(encode(pixels, grids).pooler_output)
        for index, visual in chosen.items():
            features[index] = tuple(islice(encoded, len(visual.grid_thw)))
    return [features[index] for index in range(len(visuals))]
