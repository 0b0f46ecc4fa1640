"""Our sampler against raw vLLM: `python benchmarks/rollout.py --model DIR --dataset DIR`.

Both draw the same groups from the same prompts with the same engine arguments, in turns
(ours, raw, raw, ours, ...), each in a process of its own so that both start alike. The tokens must
be equal before anything is timed. The first turn of each is dropped.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_GROUPS, _GROUP_SIZE, _MAX_TOKENS = 16, 8, 64
_MAX_MODEL_LENGTH = 1024
_LEAST_RATIO = 0.9


def main() -> int:
    """Print tokens per second of both and their ratio; return 1 below nine tenths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--dataset", required=True, help="folder or URL of a dataset")
    parser.add_argument("--turns", type=int, default=6, help="timed turns of each (default 6)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    result = compare(arguments.model, arguments.dataset, arguments.turns)
    print(json.dumps(result, indent=1) if arguments.json else as_text(result))
    return int(result["ratio"] < _LEAST_RATIO)


def compare(model: Path, dataset: str, turns: int) -> dict[str, Any]:
    """Return the rates of both.

    Raises:
        SystemExit: they drew different tokens.
    """
    sides = {name: _Side(work, model, dataset) for name, work in (("ours", ours), ("raw", raw))}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens: dict[str, list[Any]] = {}
    for turn in range(turns + 1):
        for name in ("ours", "raw") if turn % 2 == 0 else ("raw", "ours"):
            took, drawn = sides[name].turn(turn)
            tokens[name] = drawn
            if turn > 0:
                seconds[name].append(took)
        if tokens["ours"] != tokens["raw"]:
            sys.exit(f"turn {turn}: the two drew different tokens; nothing was compared")
    for side in sides.values():
        side.end()
    count = sum(len(completion) for group in tokens["ours"] for completion in group)
    rates = {name: count / median(took) for name, took in seconds.items()}
    return {
        "tokens_per_turn": count,
        "tokens_per_second": rates,
        "spread_seconds": {name: [min(took), max(took)] for name, took in seconds.items()},
        "ratio": rates["ours"] / rates["raw"],
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "vllm": _vllm_version(),
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0], "cpu": platform.machine()},
    }


class _Side:
    """One contender in its own process."""

    def __init__(self, work: Any, model: Path, dataset: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, model, dataset))
        self._process.start()

    def turn(self, seed: int) -> tuple[float, Any]:
        self._pipe.send(seed)
        answer: tuple[float, Any] = self._pipe.recv()
        return answer

    def end(self) -> None:
        self._pipe.send(None)
        self._process.join()


def ours(pipe: Connection, model: Path, dataset: str) -> None:
    """Sample through the project's sampler, as the rollout actors do."""
    from assay_trainer.rollout.sampler import SampleRequest, SamplingPlan
    from assay_trainer.rollout.vllm_engine import VllmSampler

    sampler = VllmSampler(model, engine_config())
    plan = SamplingPlan(_GROUP_SIZE, _MAX_TOKENS, 1.0)
    text, clips = prompts(model, dataset)
    for seed in iter(pipe.recv, None):
        requests = [SampleRequest(text, clip, seed * 1000 + i) for i, clip in enumerate(clips)]
        start = time.perf_counter()
        groups = sampler.sample(requests, plan)
        took = time.perf_counter() - start
        pipe.send((took, [[s.rollout.token_ids for s in group] for group in groups]))


def raw(pipe: Connection, model: Path, dataset: str) -> None:
    """Sample with `LLM.generate` and nothing else."""
    from transformers import AutoProcessor
    from vllm import LLM, SamplingParams

    from assay_trainer.families.family import banned_ids
    from assay_trainer.families.qwen2_5_vl import FAMILY
    from assay_trainer.rollout.vllm_engine import BANNED_BIAS, engine_arguments

    config = engine_config()
    llm = LLM(str(model), **engine_arguments(model, config))
    tokenizer = AutoProcessor.from_pretrained(model).tokenizer
    bias = dict.fromkeys(banned_ids(FAMILY, tokenizer), BANNED_BIAS)
    text, clips = prompts(model, dataset)
    for seed in iter(pipe.recv, None):
        inputs = [FAMILY.sampler_prompt(text, clip, tokenizer) for clip in clips]
        parameters = [
            SamplingParams(
                n=_GROUP_SIZE,
                max_tokens=_MAX_TOKENS,
                temperature=1.0,
                logprobs=0,
                logit_bias=bias,
                seed=seed * 1000 + i,
            )
            for i in range(len(clips))
        ]
        start = time.perf_counter()
        outputs = llm.generate(inputs, parameters, use_tqdm=False)
        took = time.perf_counter() - start
        pipe.send((took, [[tuple(c.token_ids) for c in output.outputs] for output in outputs]))


def engine_config() -> Any:
    """Return the same engine configuration for both."""
    from assay_trainer.rollout.engine_config import EngineConfig

    return EngineConfig("Float32", _MAX_MODEL_LENGTH, 256, memory_fraction=0.1)


def prompts(model: Path, dataset: str) -> tuple[str, list[Any]]:
    """Return the prompt and the first clips of the dataset."""
    from assay_api import ThinkingMode
    from assay_data.dataset import ClipDataset
    from assay_data.store import open_store
    from assay_trainer.chat import detection_prompt
    from assay_trainer.models.published import model_card
    from assay_trainer.records import Clip

    text, _ = detection_prompt(model_card(model).prompt, ThinkingMode.THINK)
    clips = ClipDataset.open(open_store(dataset))
    rows = clips.rows()[:_GROUPS]
    return text, [Clip(clips.frames(row.row_id), row.sampled_fps) for row in rows]


def as_text(result: dict[str, Any]) -> str:
    """Return the result for people."""
    rates = result["tokens_per_second"]
    return (
        f"raw vLLM {rates['raw']:8.0f} tokens/s\n"
        f"ours     {rates['ours']:8.0f} tokens/s\n"
        f"ratio    {result['ratio']:8.3f}   (equal tokens; {result['tokens_per_turn']} a turn)\n"
        f"{result['versions']}, vllm {result['vllm']}, {result['machine']}"
    )


def _vllm_version() -> str:
    import vllm

    return str(vllm.__version__)


if __name__ == "__main__":
    sys.exit(main())
