"""The policy losses by the names that manifests give them."""

from collections.abc import Mapping

from assay_api.policy_loss import Loss, LossType
from assay_trainer.algorithms.losses.cispo import cispo_loss
from assay_trainer.algorithms.losses.dapo import dapo_loss
from assay_trainer.algorithms.losses.dr_grpo import dr_grpo_loss
from assay_trainer.algorithms.losses.grpo import grpo_loss
from assay_trainer.algorithms.losses.gspo import gspo_loss
from assay_trainer.algorithms.losses.policy_loss import (
    Aggregation,
    Clip,
    LossFunction,
    completion_mean,
    room_mean,
    token_mean,
)

LOSSES: Mapping[LossType, LossFunction] = {
    LossType.DAPO: dapo_loss,
    LossType.GRPO: grpo_loss,
    LossType.DR_GRPO: dr_grpo_loss,
    LossType.GSPO: gspo_loss,
    LossType.CISPO: cispo_loss,
}

AGGREGATIONS: Mapping[LossType, Aggregation] = {
    LossType.DAPO: token_mean,
    LossType.GRPO: completion_mean,
    LossType.DR_GRPO: room_mean,
    LossType.GSPO: completion_mean,
    LossType.CISPO: token_mean,
}
"""How each loss, and a divergence that is added to it, is averaged over the batch."""

DEFAULT_CLIPS = {
    LossType.DAPO: (0.2, 0.28),
    LossType.GRPO: (0.2, 0.2),
    LossType.DR_GRPO: (0.2, 0.2),
    LossType.GSPO: (3e-4, 4e-4),
    LossType.CISPO: (1.0, 4.0),
}
"""Distances of the ratio's bounds from 1, as the papers have them; CISPO's as in EasyR1."""


def clip_of(loss: Loss) -> Clip:
    """Return the bounds that a loss is given, or its paper's.

    Example:
        >>> clip_of(Loss(clip_high=0.3))
        Clip(low=0.2, high=0.3, dual=None)
    """
    low, high = DEFAULT_CLIPS[loss.type]
    return Clip(loss.clip_low or low, loss.clip_high or high, loss.dual_clip)
