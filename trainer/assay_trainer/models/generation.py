"""How a model draws tokens: the same in training, evaluation, the server and the published model.

Published models come with defaults of their own: Qwen2.5-VL's are a repetition penalty of 1.05 and
a temperature of 1e-6. A policy that was trained without them answers otherwise with them. So
nothing here reads them, and what a stage publishes says what it was trained with: the plain
distribution.
"""

import json
from pathlib import Path
from typing import Any, Final

from transformers import GenerationConfig

NO_PENALTIES: Final[dict[str, Any]] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""vLLM's sampling parameters of the plain distribution, besides the temperature."""

FILE = "generation_config.json"
"""File of a model's generation defaults within its folder."""


def write_generation_config(base: GenerationConfig, folder: Path) -> None:
    """Write the generation defaults of a trained model: temperature 1, no penalties, nothing cut.

    Args:
        base: that of the model it was trained from, of which the special tokens are kept.
        folder: the trained model's.
    """
    tokens = {
        name: getattr(base, name)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        if getattr(base, name) is not None
    }
    defaults = {
        "do_sample": True,
        "temperature": 1.0,
        "top_p": 1.0,
        # 0 is off; transformers takes the 50 likeliest where nothing is said.
        "top_k": 0,
        "repetition_penalty": 1.0,
    }
    (folder / FILE).write_text(json.dumps({**defaults, **tokens}, indent=1))
