"""The learning rate of each optimiser step."""

import math

from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from assay_api.optimizer import Optimizer


def learning_rate_schedule(
    optimizer: TorchOptimizer, wanted: Optimizer, total_steps: int
) -> LambdaLR:
    """Return the schedule that sets the optimiser's learning rate, and moves on by `step()`.

    The warm-up goes linearly from 0 at the first step; the step after its last one has the peak
    rate. From there on the rate is constant, or falls to 0 in a straight line at the end of the
    stage, or by half a cosine to its floor.

    Args:
        optimizer: its learning rate is the peak.
        wanted: schedule and warm-up.
        total_steps: optimiser steps of the whole stage.
    """
    warmup = num_warmup_steps(wanted, total_steps)
    schedule: LambdaLR
    match wanted.schedule:
        case "Linear":
            schedule = get_linear_schedule_with_warmup(optimizer, warmup, total_steps)
        case "Cosine":
            schedule = get_cosine_with_min_lr_schedule_with_warmup(
                optimizer, warmup, total_steps, min_lr_rate=wanted.floor
            )
        case "Constant":
            schedule = get_constant_schedule_with_warmup(optimizer, warmup)
    return schedule


def num_warmup_steps(wanted: Optimizer, total_steps: int) -> int:
    """Return the steps of the warm-up, of so many in all.

    Example:
        >>> num_warmup_steps(Optimizer(warmup_ratio=0.1), 25)
        3
        >>> num_warmup_steps(Optimizer(warmup_steps=4), 9)
        4
    """
    return wanted.warmup_steps or math.ceil(wanted.warmup_ratio * total_steps)
