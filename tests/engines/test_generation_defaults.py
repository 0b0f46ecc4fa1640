"""Sampler, server and published model draw tokens alike, whatever the base has as defaults."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen2_5_VLForConditionalGeneration

from assay_trainer.models.export import write_model
from assay_trainer.models.policy import load_policy
from assay_trainer.models.published import ModelCard
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.server import ServerOptions, server_arguments

BASE = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 1e-6}
"""What Qwen2.5-VL-7B-Instruct is published with."""
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
START_SECONDS = 300
PROMPT = "<|im_start|>user\nIs it smooth?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def base(scratch_model: Path, tmp_path: Path) -> Path:
    """A model with the defaults of the published one."""
    return with_defaults(scratch_model, tmp_path / "base", BASE)


def with_defaults(model: Path, folder: Path, defaults: dict[str, Any]) -> Path:
    shutil.copytree(model, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | defaults))
    return folder


def vllm_defaults(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Return what vLLM's server with these arguments draws with, where a request says nothing."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    config = EngineArgs.from_cli_args(parsed).create_model_config()
    found: dict[str, Any] = config.get_diff_sampling_param()
    return found


def test_the_servers_arguments_leave_nothing_of_the_folders_defaults(base: Path) -> None:
    arguments = server_arguments(base, ServerOptions("detector"))
    assert vllm_defaults(base, arguments) == {}
    # What the same folder does to a server that is not told so.
    assert vllm_defaults(base, ["--model", str(base)]) == {
        "temperature": 1e-6,
        "repetition_penalty": 1.05,
    }


def test_a_published_model_draws_as_it_was_trained_whoever_serves_it(
    base: Path, tmp_path: Path
) -> None:
    policy = load_policy(base, precision="Float32", lora=None, freeze_vision_tower=True)
    folder = tmp_path / "published"
    folder.mkdir()
    write_model(policy, ModelCard(), folder)

    assert vllm_defaults(folder, ["--model", str(folder)]) == NEUTRAL
    found, before = (GenerationConfig.from_pretrained(where) for where in (folder, base))
    assert {name: getattr(found, name) for name in NEUTRAL} == NEUTRAL
    assert found.do_sample
    assert (found.eos_token_id, found.pad_token_id) == (before.eos_token_id, before.pad_token_id)
    assert found.eos_token_id == AutoTokenizer.from_pretrained(base).eos_token_id


@contextmanager
def served(model: Path) -> Iterator[str]:
    """Serve a model by `assay serve`; yield the base URL when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "assay_trainer.cli.main", "serve", "--model", str(model)]
    command += ["--port", str(port), "--max-model-len", "512"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_until_healthy(process, port)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def wait_until_healthy(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0].decode()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise AssertionError("the server did not become healthy")


def test_the_server_draws_the_likeliest_tokens_whatever_the_folder_says(
    scratch_model: Path, tmp_path: Path
) -> None:
    """As transformers computes them, and so the sampler, which draws as the learner scores."""
    # A random model repeats itself: a penalty on that, if it were applied, changes the answer.
    model = with_defaults(scratch_model, tmp_path / "model", BASE | {"repetition_penalty": 2.0})
    with served(model) as url:
        body = {"model": "detector", "prompt": PROMPT, "max_tokens": 24, "temperature": 0}
        body |= {"return_token_ids": True}
        reply = httpx.post(f"{url}/completions", json=body, timeout=120).raise_for_status()

    drawn = reply.json()["choices"][0]["token_ids"]
    assert drawn == likeliest_tokens(model, penalty=1.0) != likeliest_tokens(model, penalty=2.0)


def likeliest_tokens(model: Path, *, penalty: float) -> list[int]:
    """Return 24 tokens after the prompt, or as many as it takes to its end."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = tokenizer(PROMPT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    plan = GenerationConfig(
        max_new_tokens=24,
        do_sample=False,
        repetition_penalty=penalty,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    policy = Qwen2_5_VLForConditionalGeneration.from_pretrained(model)
    policy.generation_config = plan
    drawn = policy.generate(asked, attention_mask=torch.ones_like(asked))
    found: list[int] = drawn[0, asked.shape[1] :].tolist()
    return found


def test_an_engine_takes_its_share_of_a_gpu_and_bytes_on_a_cpu(
    scratch_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay_trainer.rollout.vllm_engine import engine_arguments

    config = EngineConfig("BFloat16", 2400)
    on_cpu = engine_arguments(scratch_model, config)
    monkeypatch.setenv("ASSAY_GPUS", "1")
    on_gpu = engine_arguments(scratch_model, config)
    assert (on_cpu["kv_cache_memory_bytes"], on_cpu["enforce_eager"]) == (2**29, True)
    assert (on_gpu["kv_cache_memory_bytes"], on_gpu["enforce_eager"]) == (None, False)
    assert on_gpu["gpu_memory_utilization"] == 0.9
    assert on_cpu["generation_config"] == on_gpu["generation_config"] == "vllm"
