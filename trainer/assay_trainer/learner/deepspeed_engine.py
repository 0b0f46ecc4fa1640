"""The learner: DeepSpeed's optimiser over micro-batches of completions.

The loss handed to `Learner.update` is already divided by what the whole global batch holds.
DeepSpeed averages gradients over the ranks, so each loss is multiplied by their number, and its
own division by the accumulation steps is switched off.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from assay_api import StoreError
from assay_api.running import Placement
from assay_api.stage import Optimizer
from assay_trainer import deadlines
from assay_trainer.device import uses_gpu, warn_if_busy
from assay_trainer.learner.all_reduce import check_all_reduce
from assay_trainer.learner.batch import MicroBatch
from assay_trainer.learner.learner import CompletionLogprobs, LossOfMicroBatch, Update

if not uses_gpu():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed

# Its own shared-memory collectives would be compiled on first use: no compiler is needed without.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

T = TypeVar("T")


class DeepSpeedLearner:
    """Scores completions and takes optimiser steps; one per process, all ranks in step."""

    def __init__(
        self, scorer: nn.Module, optimizer: Optimizer, placement: Placement, *, total_steps: int
    ) -> None:
        """Hand the scorer's trainable weights to DeepSpeed.

        Args:
            scorer: module from a micro-batch to CompletionLogprobs, with the model inside.
            optimizer: AdamW and its schedule.
            placement: ZeRO stage and number format.
            total_steps: optimiser steps of the whole stage, for the schedule.
        """
        deepspeed.init_distributed(
            dist_backend="nccl" if uses_gpu() else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
        )
        # Words between ranks: the leading one may wait for engines and judges before it says more.
        self._control = torch.distributed.new_group(
            backend="gloo", timeout=timedelta(seconds=deadlines.CONTROL_SECONDS)
        )
        check_all_reduce()
        if uses_gpu():
            warn_if_busy(int(os.environ.get("LOCAL_RANK", "0")))
        trainable = [weight for weight in scorer.parameters() if weight.requires_grad]
        adamw = torch.optim.AdamW(
            trainable,
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            weight_decay=optimizer.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(adamw, _schedule(optimizer, total_steps))
        self._engine, *_ = deepspeed.initialize(
            model=scorer,
            optimizer=adamw,
            lr_scheduler=schedule,
            config=_config(optimizer, placement),
        )
        # DeepSpeed reduces in a group that it makes itself, with torch's timeout.
        for group in (None, self._engine.data_parallel_group):
            torch.distributed.distributed_c10d._set_pg_timeout(
                timedelta(seconds=deadlines.COLLECTIVE_SECONDS), group
            )

    @property
    def rank(self) -> int:
        """This process's number among the learners."""
        return int(torch.distributed.get_rank())

    @property
    def world_size(self) -> int:
        """Number of learner processes."""
        return int(torch.distributed.get_world_size())

    @property
    def device(self) -> torch.device:
        """Where micro-batches must lie."""
        return torch.device(self._engine.device)

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        """Score completions without gradient."""
        with torch.no_grad():
            out: CompletionLogprobs = self._engine(batch)
        return out

    def update(self, work: Sequence[tuple[MicroBatch, LossOfMicroBatch]]) -> Update:
        """Take one optimiser step on the sum of the micro-batches' losses.

        All ranks must come with the same number of micro-batches: they reduce gradients together.
        """
        for index, (batch, loss_of) in enumerate(work):
            self._engine.set_gradient_accumulation_boundary(index == len(work) - 1)
            loss = loss_of(self._engine(batch)) * self.world_size
            self._engine.backward(loss, scale_wrt_gas=False)
        learning_rate = float(self._engine.get_lr()[0])
        self._engine.step()
        return Update(float(self._engine.get_global_grad_norm() or 0.0), learning_rate)

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks on every rank, by rank."""
        values: list[T] = [value] * self.world_size
        torch.distributed.all_gather_object(values, value, group=self._control)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        torch.distributed.barrier(group=self._control)

    def save(self, folder: Path) -> None:
        """Write this rank's part of the weights that train, optimiser and schedule.

        Raises:
            StoreError: the folder's disk is full or not writable.
        """
        try:
            self._engine.save_checkpoint(
                str(folder), tag="learner", save_latest=False, exclude_frozen_parameters=True
            )
        except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by the latter.
            raise StoreError(
                f"cannot write the learner's state to {folder}: {error}; the last checkpoint is "
                "kept: free some space there, or set TMPDIR to another place, and run it again"
            ) from error

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, with the same number of ranks, into the same start model.

        Raises:
            StoreError: it has not the weights that train here.
        """
        try:
            self._engine.load_checkpoint(str(folder), tag="learner")
        except RuntimeError as error:
            if "state_dict" not in str(error):
                raise
            told = " ".join(str(error).split())
            raise StoreError(
                f"the checkpoint in {folder} does not fit this stage's model: {told}; delete the "
                "stage's checkpoints to start again, or give the stage another name"
            ) from error


def _schedule(optimizer: Optimizer, total_steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (optimizer.warmup_steps + 1))
        decay = 1 - step / total_steps if optimizer.schedule == "Linear" else 1.0
        return warm * max(decay, 0.0)

    return factor


def _config(optimizer: Optimizer, placement: Placement) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm,
        "zero_optimization": {"stage": placement.zero_stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": placement.precision == "BFloat16"},
        "steps_per_print": 10**9,
    }
