"""Advantages of tokens by the verdicts on their sentences.

A verdict is 1 for a sentence that the evidence supports, -1 for one that it contradicts, and 0 for
one that it does neither.
"""

from collections.abc import Sequence

from assay_api.factuality import StepRule


def step_advantages(
    advantage: float,
    verdicts: Sequence[int | None],
    rule: StepRule,
    *,
    additive_weight: float = 1.0,
) -> tuple[float, ...]:
    """Return the advantage of each token of a completion.

    Args:
        advantage: of the whole completion, in standard deviations of its group's rewards.
        verdicts: on each token's sentence; None: it belongs to none.
        rule: what a verdict does. FLIP: the advantage is never negative in a supported sentence and
            never positive in a contradicted one. AS_RELEASED: the same, and tokens outside of
            sentences count as supported. MASK_ONLY: zero where FLIP would change the sign.
            ADDITIVE: the verdict is added, times `additive_weight`. UNCHANGED: nothing.
        additive_weight: in standard deviations of the group's rewards.

    Source:
        FSPO, arXiv:2505.24630, equation 7: A is negated where A > 0 and the verdict is -1, or A < 0
        and the verdict is 1. Its code (github.com/nusnlp/FSPO, `compute_advantage`) has 1 in its
        mask wherever no sentence is, so that a wrong answer's own tokens are rewarded.

    Example:
        >>> step_advantages(-2.0, (1, 0, -1, None), StepRule.FLIP)
        (2.0, -2.0, -2.0, -2.0)
        >>> step_advantages(-2.0, (1, 0, -1, None), StepRule.AS_RELEASED)
        (2.0, -2.0, -2.0, 2.0)
        >>> step_advantages(-2.0, (1, 0, -1, None), StepRule.MASK_ONLY)
        (0.0, -2.0, -2.0, -2.0)
        >>> step_advantages(-2.0, (1, 0, -1, None), StepRule.ADDITIVE, additive_weight=0.5)
        (-1.5, -2.0, -2.5, -2.0)
    """
    outside = 1 if rule is StepRule.AS_RELEASED else 0
    known = (outside if verdict is None else verdict for verdict in verdicts)
    match rule:
        case StepRule.UNCHANGED:
            return (advantage,) * len(verdicts)
        case StepRule.ADDITIVE:
            return tuple(advantage + additive_weight * verdict for verdict in known)
        case StepRule.MASK_ONLY:
            return tuple(0.0 if verdict * advantage < 0 else advantage for verdict in known)
    return tuple(-advantage if verdict * advantage < 0 else advantage for verdict in known)


def num_flipped(advantage: float, by_token: Sequence[float]) -> int:
    """Return how many tokens have an advantage of the other sign than their completion."""
    return sum(one * advantage < 0 for one in by_token)


def verdict_of(score: float, *, supported_from: float, contradicted_below: float) -> int:
    """Return the verdict that a verifier's score stands for.

    Args:
        score: between 0 and 1.
        supported_from: least score of a supported sentence.
        contradicted_below: a lower score contradicts.

    Example:
        >>> limits = {"supported_from": 0.67, "contradicted_below": 0.33}
        >>> [verdict_of(score, **limits) for score in (0.67, 0.66, 0.33, 0.32)]
        [1, 0, 0, -1]
    """
    if score >= supported_from:
        return 1
    return -1 if score < contradicted_below else 0
