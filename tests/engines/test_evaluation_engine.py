"""An evaluation's engine is sized and started once, and its memory is free afterwards."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from assay_api import Dataset, ThinkingMode
from assay_api.prompt import BUSTERX_PROMPT
from assay_data.ingest import build_dataset
from assay_data.store import open_store
from assay_trainer.chat import detection_prompt
from assay_trainer.rollout.prompt_length import longest_prompt_tokens

PROCESS = Path(__file__).with_name("evaluation_process.py")
SIZES = ((56, 56), (112, 56), (224, 168), (84, 84))
"""Of the clips: width and height in pixels."""
MAX_COMPLETION_TOKENS = 8


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of test clips, 4 frames each, of very different sizes."""
    videos, folder = tmp_path_factory.mktemp("uneven"), tmp_path_factory.mktemp("dataset")
    for number, (width, height) in enumerate(SIZES):
        path = videos / ("real", "fake/noise")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(4))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            rng = np.random.default_rng(number)
            for _ in range(20):
                noise = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    spec = {
        "source": {"folder": {"uri": str(videos)}},
        "frames": {"count": 4, "sampling": "Whole"},
        "split": {"rule": "Test"},
    }
    resource = Dataset.model_validate({"metadata": {"name": "clips"}, "spec": spec})
    build_dataset(resource, open_store(str(folder)), 1, lambda done, total: None)
    return str(folder)


@pytest.fixture(scope="module")
def told(uneven: str, scratch_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What two evaluations in one process told."""
    out = tmp_path_factory.mktemp("evaluations")
    command = [sys.executable, str(PROCESS), str(scratch_model), uneven, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_engine_answers_rows_of_all_lengths_in_both_modes(
    told: Any, scratch_model: Path
) -> None:
    assert told["clips"][0] != max(told["clips"]), "a longer prompt comes later"
    assert len(told["lengths"]) == 2, "one in each evaluation"
    # 4 frames are 2 grids; 224 x 168 pixels are 8 x 6 tokens.
    sizes = [(4, 56, 56), (4, 224, 168)]
    prompt = longest_prompt_tokens(scratch_model / "tokenizer.json", BUSTERX_PROMPT, sizes)
    assert set(told["lengths"]) == {prompt + MAX_COMPLETION_TOKENS}


def test_the_longest_prompt_is_that_of_the_longest_mode_about_the_largest_clip(
    scratch_model: Path,
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(scratch_model / "tokenizer.json"))
    words = [
        len(tokenizer.encode(detection_prompt(BUSTERX_PROMPT, mode)[0]).ids)
        for mode in ThinkingMode
    ]
    found = longest_prompt_tokens(
        scratch_model / "tokenizer.json", BUSTERX_PROMPT, [(4, 56, 56), (4, 224, 168), (16, 56, 28)]
    )
    assert found == 96 + max(words)


def test_the_memory_of_an_engine_is_free_before_the_next_one_starts(told: Any) -> None:
    cache = 2**29
    for running, after in zip(told["running"], told["after"], strict=True):
        assert running["tensors"] > cache
        assert after["tensors"] < running["tensors"] - cache
        assert after["mapped"] < running["mapped"] - 0.9 * cache
    first, second = told["running"]
    assert second["tensors"] == pytest.approx(first["tensors"], rel=0.02)
    assert second["mapped"] < first["mapped"] + 0.5 * cache
