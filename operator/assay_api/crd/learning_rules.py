"""The rules of how a stage of RL learns, in CEL."""

from collections.abc import Mapping

from assay_api.base import Model
from assay_api.crd.rule import Rule, idle
from assay_api.factuality import ADDITIVE_FIELDS, ADDITIVE_ONLY, Factuality
from assay_api.losses import NO_STD_FIELDS, NO_STD_ONLY
from assay_api.optimizer import (
    MIN_RATE_FIELDS,
    MIN_RATE_ONLY,
    WARMUP_FIELDS,
    WARMUP_ONLY,
    Optimizer,
)
from assay_api.stage import DYNAMIC_FIELDS, DYNAMIC_ONLY, NOTHING_TO_CHECK, Rl

LEARNING_RULES: Mapping[type[Model], tuple[Rule, ...]] = {
    Rl: (
        *idle(Rl, DYNAMIC_FIELDS, "self.dynamicSampling", DYNAMIC_ONLY),
        *idle(Rl, NO_STD_FIELDS, "self.loss.advantageStd != 'None'", NO_STD_ONLY),
        Rule(
            "!has(self.factuality) || self.modes.exists(mode, mode == 'Think')",
            NOTHING_TO_CHECK,
            field=".factuality",
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
        *idle(Optimizer, MIN_RATE_FIELDS, "self.schedule == 'Cosine'", MIN_RATE_ONLY),
        *idle(Optimizer, WARMUP_FIELDS, "!has(self.warmupRatio)", WARMUP_ONLY),
    ),
}
