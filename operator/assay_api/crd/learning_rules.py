"""The rules of how a stage of RL learns, in CEL."""

from collections.abc import Mapping

from assay_api.base import Model
from assay_api.crd.rule import Rule, idle
from assay_api.factuality import ADDITIVE_FIELDS, ADDITIVE_ONLY, Factuality
from assay_api.optimizer import FLOOR_FIELDS, FLOOR_ONLY, Optimizer
from assay_api.policy_loss import DUAL_ONLY, Loss
from assay_api.stage import (
    DYNAMIC_FIELDS,
    DYNAMIC_ONLY,
    NOTHING_TO_CHECK,
    STD_FIELDS,
    STD_ONLY,
    Rl,
)

LEARNING_RULES: Mapping[type[Model], tuple[Rule, ...]] = {
    Rl: (
        *idle(Rl, DYNAMIC_FIELDS, "self.dynamicSampling", DYNAMIC_ONLY),
        *idle(Rl, STD_FIELDS, "self.advantageStd != 'None'", STD_ONLY),
        Rule(
            "!has(self.factuality) || self.modes.exists(mode, mode == 'Think')",
            NOTHING_TO_CHECK,
            field=".factuality",
        ),
    ),
    Loss: (
        Rule(
            "!has(self.dualClip) || self.type in ['Dapo', 'Grpo', 'DrGrpo']",
            f"dualClip acts only {DUAL_ONLY}: leave it out",
            field=".dualClip",
        ),
    ),
    Factuality: (
        Rule(
            "self.contradictedBelow <= self.supportedFrom",
            "contradictedBelow must be at most supportedFrom: what lies between them is neutral",
            field=".contradictedBelow",
        ),
        *idle(Factuality, ADDITIVE_FIELDS, "self.advantages == 'Additive'", ADDITIVE_ONLY),
        Rule(
            "self.advantages != 'Unchanged' || self.rewardWeight > 0.0",
            "rewardWeight 0 with advantages: Unchanged: verdicts would change nothing; leave "
            "factuality out",
            field=".rewardWeight",
        ),
    ),
    Optimizer: (
        *idle(Optimizer, FLOOR_FIELDS, "self.schedule == 'Cosine'", FLOOR_ONLY),
        Rule(
            "self.warmupSteps == 0 || self.warmupRatio == 0.0",
            "warmupSteps and warmupRatio say the same twice: give one of them",
            field=".warmupRatio",
        ),
    ),
}
