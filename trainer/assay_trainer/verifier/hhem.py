"""HHEM-2.1-Open and models of its layout, out of their folder and without its code.

The folder holds `config.json` with the `model_type` of HHEM, weights in safetensors whose names
begin with `t5.`, and `tokenizer.json`. The published configuration names no sizes, it stands for
FLAN-T5's: they are read off the weights, and what weights don't show is as in FLAN-T5.

Source: vectara/hallucination_evaluation_model (Apache-2.0): T5ForTokenClassification; the score is
the softmax over the two logits of the first token, of index 1.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import T5Config, T5ForTokenClassification

from assay_api import InvalidInput
from assay_trainer.verifier.pair_texts import PairTokens

MODEL_TYPES = ("HHEMv2", "HHEMv2Config")
"""How its `config.json` names itself: by its code, and as it was published."""

_PREFIX = "t5."
_SHARED, _EMBEDDED = "transformer.shared.weight", "transformer.encoder.embed_tokens.weight"
_BLOCK = "transformer.encoder.block."
_PAD = 0
"""Id of `<pad>` in T5's vocabulary; masked out, it may as well be any other."""
_MAX_SCORES = {"cuda": 2**23, "cpu": 2**17}
"""Attention scores of a batch in one head of one layer, by device: below 2 GB on a GPU; on a CPU
few enough to stay in its cache, where larger batches are slower than single pairs."""


@dataclass(frozen=True, slots=True)
class Hhem:
    """A verifier that is loaded."""

    model: T5ForTokenClassification
    tokenizer: Tokenizer

    def scores(self, pairs: Sequence[PairTokens]) -> list[float]:
        """Return how far each premise supports its hypothesis, from 0 to 1, in order.

        Pairs of about the same length are computed together, padded and masked.
        """
        found = [0.0] * len(pairs)
        room = _MAX_SCORES[self.model.device.type]
        for places in batches([len(pair.ids) for pair in pairs], room):
            values = self._batch([pairs[i].ids for i in places]).tolist()
            for i, value in zip(places, values, strict=True):
                found[i] = value
        return found

    @torch.inference_mode()
    def _batch(self, ids: Sequence[Sequence[int]]) -> Float[Tensor, " pair"]:
        longest, device = max(map(len, ids)), self.model.device
        padded = [[*row, *[_PAD] * (longest - len(row))] for row in ids]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
        logits: Tensor = self.model(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
        ).logits
        return logits[:, 0].float().softmax(-1)[:, 1].cpu()


def batches(lengths: Sequence[int], max_scores: int) -> Iterator[list[int]]:
    """Yield the places of pairs that are computed together, longest first.

    A batch has as many as its attention scores leave room for, at least one.

    Example:
        >>> list(batches([10, 20, 10, 20, 20], max_scores=800))
        [[1, 3], [4, 0], [2]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, max_scores // lengths[order[0]] ** 2)
        yield order[:size]
        order = order[size:]


def is_hhem(folder: Path) -> bool:
    """Tell whether a folder holds a model of HHEM's layout, by its `config.json`."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in MODEL_TYPES


def load_hhem(folder: Path, dtype: torch.dtype, device: str) -> Hhem:
    """Return the verifier in a folder, ready to score.

    Raises:
        InvalidInput: the folder lacks the tokenizer or weights in safetensors, or they are not of
            this layout.
    """
    tokenizer = _tokenizer(folder)
    weights = _weights(folder)
    config = _config(folder, weights)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise InvalidInput(
            f"model {folder}: tokenizer.json has {tokenizer.get_vocab_size()} tokens, the weights "
            f"know {config.vocab_size}: it is the tokenizer of another model"
        )
    with torch.device("meta"):
        model = T5ForTokenClassification(config)
    problems = model.load_state_dict(weights, strict=False, assign=True)
    if problems.missing_keys or problems.unexpected_keys:
        wrong = [*problems.missing_keys, *problems.unexpected_keys]
        raise _not_hhem(folder, f"missing or unknown: {', '.join(wrong[:5])}")
    return Hhem(model.to(device=device, dtype=dtype).eval(), tokenizer)


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidInput(
            f"model {folder}: no tokenizer.json there. HHEM-2.1-Open reads with the tokenizer of "
            "google/flan-t5-base and may come without it: copy the model into a folder or a "
            "bucket, put tokenizer.json of that model beside it, and name that place"
        )
    text = path.read_text()
    try:
        json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path}: not JSON ({error}); download it again") from None
    tokenizer = Tokenizer.from_str(text)
    if tokenizer.token_to_id("<pad>") is None:
        raise InvalidInput(f"{path}: has no token <pad>, on which HHEM decides; use FLAN-T5's")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidInput(f"model {folder}: no weights (*.safetensors) there; pickles aren't read")
    found = {name: value for file in files for name, value in load_file(file).items()}
    if not all(name.startswith(_PREFIX) for name in found):
        other = next(name for name in found if not name.startswith(_PREFIX))
        raise _not_hhem(folder, f"{other} does not begin with {_PREFIX}")
    weights = {name.removeprefix(_PREFIX): value for name, value in found.items()}
    # One tensor under two names, of which safetensors keeps one.
    for one, other in ((_SHARED, _EMBEDDED), (_EMBEDDED, _SHARED)):
        if one in weights:
            weights.setdefault(other, weights[one])
    return weights


def _config(folder: Path, weights: dict[str, Tensor]) -> T5Config:
    first = f"{_BLOCK}0.layer.0.SelfAttention."
    try:
        vocabulary, width = weights[_SHARED].shape
        buckets, heads = weights[f"{first}relative_attention_bias.weight"].shape
        inner = weights[f"{first}q.weight"].shape[0]
        feed_forward = weights[f"{_BLOCK}0.layer.1.DenseReluDense.wi_0.weight"].shape[0]
        labels = weights["classifier.weight"].shape[0]
    except KeyError as error:
        raise _not_hhem(folder, f"no {error}") from None
    if labels != 2:
        raise _not_hhem(folder, f"its head has {labels} labels, not 2")
    return T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=inner // heads,
        d_ff=feed_forward,
        num_layers=len({n.split(".")[3] for n in weights if n.startswith(_BLOCK)}),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu",
        num_labels=labels,
    )


def _not_hhem(folder: Path, problem: str) -> InvalidInput:
    return InvalidInput(
        f"model {folder}: its weights are not those of HHEM-2.1-Open's layout "
        f"(T5ForTokenClassification, named {_PREFIX}...): {problem}"
    )
