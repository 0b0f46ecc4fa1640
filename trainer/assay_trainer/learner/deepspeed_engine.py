"""The learner: DeepSpeed's optimiser over micro-batches of completions.

The loss handed to `Learner.update` is already divided by what the whole global batch holds.
DeepSpeed averages gradients over the ranks, so each loss is multiplied by their number, and its
own division by the accumulation steps is switched off.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from assay_api import StoreError
from assay_api.optimizer import Optimizer
from assay_api.running import Placement
from assay_trainer import deadlines
from assay_trainer.device import uses_gpu, warn_if_busy
from assay_trainer.families.batch import MicroBatch
from assay_trainer.learner.all_reduce import check_all_reduce
from assay_trainer.learner.learner import CompletionLogprobs, LossOfMicroBatch, Update
from assay_trainer.learner.schedule import learning_rate_schedule

if not uses_gpu():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer

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
        self._trainable, self._adamw = trainable, adamw
        self._engine, *_ = deepspeed.initialize(
            model=scorer,
            optimizer=adamw,
            lr_scheduler=learning_rate_schedule(adamw, optimizer, total_steps),
            config=_config(optimizer, placement),
        )
        if isinstance(self._engine.optimizer, FP16_UnfusedOptimizer):
            _undo_first_step(self._engine.optimizer)
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
        return Update(self._step(), learning_rate)

    def _step(self) -> float:
        """Let the weights step; return the norm of the whole gradient before it is clipped."""
        if self._engine.optimizer is self._adamw:  # Clipped by the engine, which keeps no norm.
            norm = nn.utils.get_total_norm([w.grad for w in self._trainable if w.grad is not None])
            self._engine.step()
        else:
            self._engine.step()
            norm = self._engine.get_global_grad_norm()
        return float(norm)

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


def _undo_first_step(optimizer: FP16_UnfusedOptimizer) -> None:
    """Forget the step on gradients of zero that DeepSpeed takes to make AdamW's state.

    It would count in the bias corrections (the first update would be 0.742 of the learning rate),
    and with weight decay it has changed the Float32 weights.
    """
    optimizer.state.clear()
    optimizer.refresh_fp32_params()


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
