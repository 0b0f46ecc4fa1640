"""Optimiser steps of RL by DeepSpeed against a plain loop over single rows.

Every number of ranks, ZeRO stage and precision takes the same steps: with fewer groups than ranks
in some, with temperature, banned tokens, capped importance weights, clipped gradients, weight
decay, and a schedule with a warm-up.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_update import PlainPrompt, PlainRow, PlainStep, PlainUpdate, learning_rate
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from assay_api import ThinkingMode
from assay_api.prompt import Prompt
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.chat import detection_prompt
from assay_trainer.families.family import banned_ids
from assay_trainer.families.qwen2_5_vl import FAMILY, Qwen25VlEncoder
from assay_trainer.records import Clip

PROCESSES = Path(__file__).with_name("update_processes.py")
DTYPES = {"Float32": torch.float32, "BFloat16": torch.bfloat16}
OPTIMIZER = {
    "learningRate": 2e-3,
    "schedule": "Linear",
    "warmupSteps": 2,
    "weightDecay": 0.3,
    "beta1": 0.8,
    "beta2": 0.95,
    "maxGradNorm": 2.0,
}
NUM_STEPS = 6
SECONDS = 600
"""What all cases may take on a machine that does other things too; alone it is less than 30."""
SAMPLING = {"temperature": 0.8, "importanceWeightCap": 1.5}
LENGTHS = (
    ((3, 9), (4,), (7, 2, 5), (6,)),
    ((6, 5, 3),),
    ((8, 8), (1, 4)),
    ((2, 2), (9, 1), (3, 3)),
    ((5, 7),),
)
"""Tokens of each completion of each group of each step."""
TIES = {(0, 3), (3, 1)}
"""Step and place of groups whose advantages are zero: only what is divided by knows of them."""


def written_steps() -> list[list[dict[str, Any]]]:
    """Return groups with tokens, log-probabilities and advantages that follow no pattern."""
    draw = torch.Generator().manual_seed(5)
    steps = []
    for number, groups in enumerate(LENGTHS):
        steps.append([])
        for place, lengths in enumerate(groups):
            completions = [
                {
                    "token_ids": torch.randint(250, (length,), generator=draw).tolist(),
                    "sampler_logprobs": (
                        -5.6 + torch.randn(length, generator=draw).clamp(-2, 2)
                    ).tolist(),
                    "advantage": torch.randn((), generator=draw).item()
                    * ((number, place) not in TIES),
                }
                for length in lengths
            ]
            steps[-1].append({"row": (3 * number + place) % 12, "completions": completions})
    return steps


@dataclass(frozen=True)
class Case:
    """Ranks, ZeRO stage and precision of a run."""

    ranks: int
    zero_stage: int
    precision: str

    def __str__(self) -> str:
        return f"{self.ranks}-ranks-zero-{self.zero_stage}-{self.precision}"


CASES = tuple(Case(*values) for values in product((1, 2, 3), (0, 1, 2), DTYPES))
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
WAY = {"Float32": 5e-4, "BFloat16": 0.05}
"""How far the weights may be from where the plain loop takes them, as a share of the whole way.

AdamW makes a step of full length even of a gradient near zero, whose sign is rounding: batches and
ranks add up in other orders (up to 4e-5 was measured), and BFloat16 has eight bits (0.02)."""
NUMBERS = {"Float32": 1e-5, "BFloat16": 1e-2}
"""How far what a step showed may be off, as a share of it; measured: 5e-7 and 2e-3."""


@dataclass(frozen=True)
class Learned:
    """What came of a run's steps."""

    weights: Mapping[str, torch.Tensor]
    steps: list[dict[str, float]]
    """Numbers of each step."""
    start: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Weights before the first step, of a plain run."""
    digests: tuple[str, ...] = ()
    """Of the weights of each rank."""


class PlainRuns:
    """The same steps by the plain loop, in each precision."""

    def __init__(self, model: Path, dataset: Path) -> None:
        self._folder = model
        processor = AutoProcessor.from_pretrained(model)
        self._banned = banned_ids(FAMILY, processor.tokenizer)
        self._mark = processor.tokenizer.convert_tokens_to_ids("<|video_pad|>")
        self._encoder = Qwen25VlEncoder(processor, 2.0)
        self._clips = ClipDataset.open(open_store(str(dataset)))
        self._question, _ = detection_prompt(
            Prompt(question="Real or fake? A) real B) fake"), ThinkingMode.THINK
        )

    def rows(self, groups: list[dict[str, Any]]) -> list[PlainRow]:
        return [
            PlainRow(
                self._prompt(group["row"]),
                tuple(one["token_ids"]),
                tuple(one["sampler_logprobs"]),
                one["advantage"],
            )
            for group in groups
            for one in group["completions"]
        ]

    def _prompt(self, number: int) -> PlainPrompt:
        row = self._clips.rows()[number]
        clip = Clip(self._clips.frames(row.row_id), row.sampled_fps)
        encoded = self._encoder.encode(self._question, clip)
        visual = encoded.visual
        grid = tuple(visual.grid_thw[0].tolist())
        return PlainPrompt(
            encoded.token_ids, self._mark, visual.pixel_values, grid, 2 / row.sampled_fps
        )

    def run(self, precision: str, steps: list[list[dict[str, Any]]]) -> Learned:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            self._folder, dtype=DTYPES[precision]
        )
        model.model.visual.requires_grad_(False)
        start = {name: weight.clone() for name, weight in model.state_dict().items()}
        update = PlainUpdate(
            model,
            OPTIMIZER,
            temperature=SAMPLING["temperature"],
            banned=self._banned,
            cap=SAMPLING["importanceWeightCap"],
        )
        seen = [self._step(update, done, self.rows(groups)) for done, groups in enumerate(steps)]
        return Learned(model.state_dict(), seen, start)

    def _step(self, update: PlainUpdate, done: int, rows: list[PlainRow]) -> dict[str, float]:
        rate = learning_rate(
            done, peak=OPTIMIZER["learningRate"], warmup=2, total=NUM_STEPS, linear=True
        )
        learned = [row for row in rows if row.advantage]
        num_tokens = sum(len(row.token_ids) for row in learned)
        whole_batch = sum(len(row.token_ids) for row in rows)
        step: PlainStep = update.step(learned, rate=rate, normaliser=whole_batch)
        return {
            "loss": step.loss,
            "grad_norm": step.grad_norm,
            "learning_rate": rate,
            "entropy/mean_nats": step.entropy_nats / num_tokens,
            "logprob/kl": step.kl_nats / num_tokens,
            "logprob/max_difference": step.largest_nats,
            "tokens/learned": num_tokens,
        }


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest) -> list[Case]:
    """The cases that pytest was asked for: one alone takes a few seconds."""
    asked = [item.callspec.params for item in request.session.items if item.path == request.path]
    return list(dict.fromkeys(params["case"] for params in asked))


@pytest.fixture(scope="module")
def learned(
    cases: list[Case],
    make_orders,
    rl,
    dataset: Path,
    scratch_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Case | str, Learned]:
    """Take the steps of the cases, and those of the plain loop meanwhile."""
    folder = tmp_path_factory.mktemp("updates")
    orders, steps = make_orders(dataset, scratch_model), written_steps()
    written = []
    for case in cases:
        placement = {
            "zeroStage": case.zero_stage,
            "precision": case.precision,
            "microBatch": 2,
            "learners": case.ranks,
        }
        spec = rl(optimizer=OPTIMIZER, steps=NUM_STEPS, **SAMPLING) | {"placement": placement}
        written.append(
            {
                "orders": orders(folder / str(case), spec).model_dump(mode="json", by_alias=True),
                "ranks": case.ranks,
                "steps": steps,
                "resumed_after": 2 if case.ranks == 2 else None,
            }
        )
    with started(written, folder) as process:
        plain = PlainRuns(scratch_model, dataset)
        found: dict[Case | str, Learned] = {
            precision: plain.run(precision, steps)
            for precision in DTYPES
            if any(case.precision == precision for case in cases)
        }
        log, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, log
    for case in cases:
        seen = json.loads((folder / str(case) / "seen.json").read_text())
        weights = load_file(folder / str(case) / "weights.safetensors")
        found[case] = Learned(weights, seen["steps"], digests=seen["digests"])
    return found


@contextmanager
def started(cases: list[dict[str, Any]], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the learner processes; none of them outlives the block."""
    file = folder / "cases.json"
    file.write_text(json.dumps(cases))
    launched = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    environment = {name: value for name, value in os.environ.items() if name not in launched}
    process = subprocess.Popen(
        [sys.executable, str(PROCESSES), str(file)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def flat(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weights[name].double().flatten() for name in sorted(weights)])


@EVERY_CASE
def test_weights_go_where_the_plain_loop_takes_them(
    case: Case, learned: dict[Case | str, Learned]
) -> None:
    plain, found = learned[case.precision], learned[case]
    assert set(found.weights) == set(plain.start)

    way, taken = (flat(run.weights) - flat(plain.start) for run in (plain, found))

    assert (taken - way).norm() < WAY[case.precision] * way.norm()
    assert len(set(found.digests)) == 1, "all ranks hold the same weights"


@EVERY_CASE
def test_what_a_step_shows_is_what_the_plain_loop_sees(
    case: Case, learned: dict[Case | str, Learned]
) -> None:
    plain = learned[case.precision].steps
    clipped = {step["grad_norm"] > OPTIMIZER["maxGradNorm"] for step in plain}
    assert clipped == {True, False}, "some steps are clipped, some are not"
    for found, expected in zip(learned[case].steps, plain, strict=True):
        assert {name: found[name] for name in expected} == pytest.approx(
            expected, rel=NUMBERS[case.precision], abs=NUMBERS[case.precision]
        )
