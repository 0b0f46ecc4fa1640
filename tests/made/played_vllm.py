"""vLLM's `LLM`, played: what it is asked is kept, and its caches are as treacherous as vLLM's.

A prompt that it has seen is not computed again, whatever weights came since, unless its prefix
cache was emptied; and it looks for a clip that it has encoded where a reload of the weights has
emptied the shelf, unless it was told.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

import assay_trainer.rollout
from assay_trainer.families.qwen2_5_vl import Qwen25VlFamily

TOKENIZER = SimpleNamespace(
    convert_tokens_to_ids=lambda marks: range(len(marks)),
    decode=lambda ids, **how: " ".join(map(str, ids)),
)
"""A tokenizer whose marks of media have the first ids; its text shows the ids."""


class PlayedFamily(Qwen25VlFamily):
    """Qwen2.5-VL, with the played tokenizer."""

    def processor(self, folder: Path) -> Any:
        return SimpleNamespace(tokenizer=TOKENIZER)


class Fields(SimpleNamespace):
    """A class of vLLM's that only holds what it is given."""


class PlayedLlm:
    """Draws the tokens 7, 8, ..., then 17, 18, ..., each as likely as its weights say."""

    def __init__(self, model: str, **arguments: Any) -> None:
        self.model, self.arguments = model, arguments
        self.asked: list[tuple[dict[str, Any], Any, Any]] = []
        """Prompt, sampling parameters and adapter of each request."""
        self.batches: list[int] = []
        self.weights: Any = "none"
        self.adapters: dict[int, str] = {}
        self.was_shut_down = self.knows_new_media = False
        self.ends_at: int | None = None
        """Tokens after which an answer ends by itself; None: the limit ends it."""
        self._prefixes: dict[tuple[Any, str], Any] = {}
        self._encoder_believes_in: set[str] = set()
        self._encoded: set[str] = set()
        self.llm_engine = SimpleNamespace(
            engine_core=SimpleNamespace(shutdown=self._shut_down),
            reset_encoder_cache=self._encoder_believes_in.clear,
            reset_mm_cache=self._look_at_media,
            add_lora=lambda request: self.adapters.update({request.lora_int_id: request.name}),
            remove_lora=self.adapters.pop,
        )

    def reset_prefix_cache(self) -> None:
        self._prefixes.clear()

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        self.weights = dict(kwargs["weights_iterator"])["weight"]
        self._encoded.clear()
        self.knows_new_media = False

    def apply_model(self, read: Callable[..., Any]) -> list[Any]:
        return [read]

    def generate(
        self, prompts: Sequence[dict[str, Any]], parameters: Sequence[Any], **how: Any
    ) -> list[Any]:
        assert how.pop("use_tqdm") is False
        self.batches.append(len(prompts))
        adapter = how.pop("lora_request")
        return [self._answer(*pair, adapter) for pair in zip(prompts, parameters, strict=True)]

    def _answer(self, prompt: dict[str, Any], parameters: Any, adapter: Any) -> Any:
        text = prompt["prompt"]
        self.asked.append((prompt, parameters, adapter))
        assert text not in self._encoder_believes_in - self._encoded, "Encoder cache miss"
        self._encoder_believes_in.add(text)
        self._encoded.add(text)
        used = self.weights if adapter is None else adapter.name
        used = self._prefixes.setdefault((adapter and adapter.lora_int_id, text), used)
        return Fields(
            prompt_token_ids=[0, 0, 0],
            outputs=[self._completion(number, parameters, used) for number in range(parameters.n)],
        )

    def _completion(self, number: int, parameters: Any, used: Any) -> Any:
        num_tokens = self.ends_at or parameters.max_tokens
        first = 7 + 10 * number
        tokens = list(range(first, first + num_tokens))
        tables = [{token: Fields(logprob=used), 99: Fields(logprob=-9.0)} for token in tokens]
        return Fields(
            token_ids=tokens,
            logprobs=tables,
            finish_reason="stop" if self.ends_at else "length",
        )

    def _shut_down(self) -> None:
        self.was_shut_down = True

    def _look_at_media(self) -> None:
        self.knows_new_media = True


def load_played_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that imports vLLM, with the played one in its place."""
    vllm, requests = ModuleType("vllm"), ModuleType("vllm.lora.request")
    vllm.__dict__.update(LLM=PlayedLlm, SamplingParams=Fields)
    requests.__dict__.update(
        LoRARequest=lambda name, number, folder: Fields(
            name=name, lora_int_id=number, files=sorted(os.listdir(folder))
        )
    )
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.lora.request", requests)
    # Under another name: the real one may be in use, and must not meet the played vLLM.
    path = Path(assay_trainer.rollout.__path__[0], "vllm_engine.py")
    spec = importlib.util.spec_from_file_location("module_with_played_vllm", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ):
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "family_of", lambda folder: PlayedFamily())
    return module
