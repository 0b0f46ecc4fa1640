"""Learner processes that take steps on given rollouts: `update_processes.py CASES.json`.

One group of processes for each number of ranks goes through all cases of that number. What takes
long to load is loaded once, here; the processes are forks.
"""

import hashlib
import json
import multiprocessing
import os
import sys
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401  torch's compiler, for each rank
import torch
from safetensors.torch import save_file

from assay_api import ResolvedStageJob, ThinkingMode
from assay_trainer.checkpoints import Position
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.policy_update import learn
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup


def scored_group(parts: StageParts, written: dict[str, Any]) -> ScoredGroup:
    """Return a group as it comes from the samplers and rewards."""
    row = parts.dataset.rows()[written["row"]]
    rows = written["completions"]
    rollouts = tuple(
        Rollout(
            token_ids=tuple(one["token_ids"]),
            sampler_logprobs=tuple(one["sampler_logprobs"]),
            text="",
            truncated=False,
            policy_version=0,
        )
        for one in rows
    )
    return ScoredGroup(
        group=RolloutGroup(parts.prompts.item(row, ThinkingMode.THINK), rollouts),
        terms={},
        rewards=tuple(one["advantage"] for one in rows),
        correct=tuple(one["advantage"] > 0 for one in rows),
        advantages=tuple(one["advantage"] for one in rows),
    )


def take_steps(case: dict[str, Any]) -> None:
    """Take the case's steps; resume from a checkpoint after the one that it names."""
    job = ResolvedStageJob.model_validate(case["orders"])
    rl = job.stage.spec.rl
    assert rl is not None
    parts = build_parts(job, temperature=rl.temperature)
    seen = []
    for number, groups in enumerate(case["steps"], start=1):
        seen.append(learn(parts, rl, [scored_group(parts, group) for group in groups]))
        if number == case["resumed_after"]:
            parts.checkpoints().save(Position(number, number, 0))
            parts = build_parts(job, temperature=rl.temperature)
            assert parts.checkpoints().resume() == Position(number, number, 0)
    weights = parts.policy.exported_weights()
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].float().numpy().tobytes())
    digests = parts.learner.gather(digest.hexdigest())
    if parts.learner.rank == 0:
        folder = Path(job.output)
        folder.mkdir(exist_ok=True)
        save_file(dict(weights), folder / "weights.safetensors")
        (folder / "seen.json").write_text(json.dumps({"steps": seen, "digests": digests}))


def run_rank(rank: int, size: int, cases: list[dict[str, Any]], folder: str) -> None:
    """Be one process of a group that takes steps together."""
    os.environ["LOCAL_RANK"] = str(rank)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous-{size}", rank=rank, world_size=size
    )
    for case in cases:
        take_steps(case)


def main(file: Path) -> int:
    """Run all cases; the exit status is 1 if a process failed."""
    by_size: dict[int, list[dict[str, Any]]] = {}
    for case in json.loads(file.read_text()):
        by_size.setdefault(case["ranks"], []).append(case)
    fork = multiprocessing.get_context("fork")
    torch.set_num_threads(1)
    processes = [
        fork.Process(target=run_rank, args=(rank, size, cases, str(file.parent)))
        for size, cases in by_size.items()
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    running = {process.sentinel: process for process in processes}
    failed = False
    while running and not failed:
        ended = [running.pop(sentinel) for sentinel in wait(list(running))]
        for process in ended:
            process.join()
        failed = any(process.exitcode != 0 for process in ended)
    for process in running.values():  # The others would wait for the one that failed.
        process.kill()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
