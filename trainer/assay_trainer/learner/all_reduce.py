"""Whether the learners reach each other, found out before the first step.

A network in which they don't is met by the first collective, whose time limit is long because real
ones wait for slow ranks. This one waits for nothing but the network.
"""

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta

import torch

from assay_api import EngineLostError
from assay_trainer.device import uses_gpu

TIMEOUT_SECONDS = 120.0
"""Enough for ranks that load libraries at different speeds, and for NCCL's first connection."""


def check_all_reduce(timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Add up the ranks' numbers, as gradients are; the default process group must exist.

    Raises:
        EngineLostError: it failed, took too long, or gave a wrong sum.
    """
    distributed = torch.distributed
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    if world_size == 1:
        return
    backend = distributed.get_backend()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if backend == "nccl" else "cpu"
    numbers = torch.tensor([float(rank + 1)], device=device)
    limit = timedelta(seconds=timeout_seconds)
    try:
        # A group of its own: what hangs in the default one keeps the process from ending. Its limit
        # is the longer one, because NCCL ends the whole process at it, without a word of ours.
        group = distributed.new_group(timeout=2 * limit)
        work = distributed.all_reduce(numbers, group=group, async_op=True)
        assert work is not None, "async_op gives a handle"
        work.wait(limit)
        found, expected = numbers.item(), world_size * (world_size + 1) / 2
        problem = None if found == expected else f"gave {found}, must be {expected}"
        distributed.destroy_process_group(group)
    except RuntimeError as error:
        problem = f"did not end within {timeout_seconds:.0f} s or failed ({error})"
    if problem is not None:
        raise EngineLostError(
            f"learner {rank} of {world_size}: the all-reduce by {backend} at the start {problem}. "
            "Look at the other learners' logs; on several nodes, name their network in the pool's "
            "env (NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME); NCCL_DEBUG=INFO tells what NCCL tries"
        )


def try_all_reduce(num_processes: int, timeout_seconds: float = TIMEOUT_SECONDS) -> float:
    """Start processes as learners are, let them check their all-reduce, and return the seconds.

    Raises:
        EngineLostError: one failed, or took too long.
    """
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="assay-all-reduce-") as folder,
        ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as processes,
    ):
        ranks = [
            processes.submit(_rank, rank, num_processes, folder, timeout_seconds)
            for rank in range(num_processes)
        ]
        try:
            for done in ranks:
                done.result()
        except BrokenProcessPool as error:
            raise EngineLostError(f"a process of the all-reduce died: {error}") from error
    return time.perf_counter() - started


def _rank(rank: int, world_size: int, folder: str, timeout_seconds: float) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    if uses_gpu():
        torch.cuda.set_device(rank)
    try:
        torch.distributed.init_process_group(
            "nccl" if uses_gpu() else "gloo",
            init_method=f"file://{folder}/rendezvous",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout_seconds),
        )
    except RuntimeError as error:
        raise EngineLostError(
            f"learner {rank} of {world_size} did not meet the others ({error})"
        ) from error
    try:
        check_all_reduce(timeout_seconds)
    finally:
        torch.distributed.destroy_process_group()
