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
    rate. From there on the rate is constant, or falls to the end of the stage: linearly to 0, or by
    half a cosine wave to its floor.

    Args:
        optimizer: its learning rate is the peak.
        wanted: schedule and warm-up.
        total_steps: optimiser steps of the whole stage.
    """
    warmup_steps = num_warmup_steps(wanted, total_steps)
    if wanted.schedule == "Linear":
        schedule: LambdaLR = get_linear_schedule_with_warmup(
            optimizer, num_warmup_steps=warmup_steps, num_training_steps=total_steps
        )
    elif wanted.schedule == "Cosine":
        schedule = get_cosine_with_min_lr_schedule_with_warmup(
            optimizer, warmup_steps, total_steps, min_lr_rate=wanted.min_rate
        )
    else:
        schedule = get_constant_schedule_with_warmup(optimizer, num_warmup_steps=warmup_steps)
    return schedule


def num_warmup_steps(wanted: Optimizer, total_steps: int) -> int:
    """Return the steps of the warm-up; a share of the stage is rounded up, as by transformers.

    Example:
        >>> num_warmup_steps(Optimizer(warmup_ratio=0.03), 50)
        2
    """
    if wanted.warmup_ratio is None:
        return wanted.warmup_steps
    return math.ceil(total_steps * wanted.warmup_ratio)
