"""The learning rate of each optimiser step."""

from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_constant_schedule_with_warmup, get_linear_schedule_with_warmup

from assay_api.stage import Optimizer


def learning_rate_schedule(
    optimizer: TorchOptimizer, wanted: Optimizer, total_steps: int
) -> LambdaLR:
    """Return the schedule that sets the optimiser's learning rate, and moves on by `step()`.

    The warm-up goes linearly from 0 at the first step; the step after its last one has the peak
    rate. From there on the rate is constant, or falls linearly to 0 at the end of the stage.

    Args:
        optimizer: its learning rate is the peak.
        wanted: schedule and warm-up.
        total_steps: optimiser steps of the whole stage.
    """
    if wanted.schedule == "Linear":
        schedule: LambdaLR = get_linear_schedule_with_warmup(
            optimizer, num_warmup_steps=wanted.warmup_steps, num_training_steps=total_steps
        )
    else:
        schedule = get_constant_schedule_with_warmup(
            optimizer, num_warmup_steps=wanted.warmup_steps
        )
    return schedule
