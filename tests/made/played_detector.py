"""What a played detector can say: words with token ids, and how likely the letters were."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from played_engines import said
from tokenizers import Tokenizer, models, pre_tokenizers

from assay_api import ThinkingMode
from assay_trainer.families.qwen2_5_vl import Qwen25VlFamily
from assay_trainer.rollout.sampler import Sample

TOKENS = (
    *("?", "<|im_end|>", "<think>", "</think>", "<answer>", "</answer>"),
    *("so", "A", "B", "real", "fake"),
)
"""The first one stands for all other words of a prompt."""
QUESTION = "Which ?"


class PlayedFamily(Qwen25VlFamily):
    """Qwen2.5-VL, with as much of a tokenizer as a detector uses."""

    def processor(self, folder: Path) -> Any:
        decode = lambda ids: "".join(TOKENS[token] for token in ids)  # noqa: E731
        return SimpleNamespace(tokenizer=SimpleNamespace(decode=decode))


def answer(pieces: Sequence[str], chances: Mapping[str, float] = {}) -> Sample:
    """A completion, its end included, and how likely each of some tokens was in a letter's place.

    In all other places the token that was said had a chance of a half.
    """
    ids = [TOKENS.index(piece) for piece in pieces]
    letters = {TOKENS.index(letter): math.log(chance) for letter, chance in chances.items()}
    tables = [
        letters if letters and TOKENS[token] in ("A", "B") else {token: math.log(0.5)}
        for token in ids
    ]
    drawn = [table[token] for table, token in zip(tables, ids, strict=True)]
    return said("".join(pieces[:-1]), drawn, token_ids=ids, alternatives=tables)


def mode_of(text: str) -> ThinkingMode:
    """Return the mode in which the whole prompt asks the question."""
    user = f"<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>{QUESTION} "
    before, flag = text.removesuffix("<|im_end|>\n<|im_start|>assistant\n").rsplit("/", 1)
    assert before == user
    return {"think": ThinkingMode.THINK, "no_think": ThinkingMode.NO_THINK}[flag]


def write_played_model(folder: Path) -> Path:
    """Write what a detector reads of a model's folder; return the folder."""
    folder.mkdir()
    files: dict[str, Any] = {
        "config.json": '{"model_type": "qwen2_5_vl"}',
        "assay.json": f'{{"prompt": {{"question": "{QUESTION}"}}}}',
        "model.safetensors": "",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    return folder
