"""Warns of a thinking mode that is learned from much less than was asked for."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from assay_api import ThinkingMode
from assay_api.stage import Rl
from assay_trainer.algorithms.dynamic_sampling import Acceptance

_LOG = logging.getLogger(__name__)

_FAR_BELOW = 0.5
"""A mode that has less than this part of the share that was asked for is warned of."""


@dataclass(slots=True)
class ModeCounts:
    """Groups of some steps, by mode."""

    asked: Counter[ThinkingMode] = field(default_factory=Counter)
    learned: Counter[ThinkingMode] = field(default_factory=Counter)
    sampled: dict[ThinkingMode, Acceptance] = field(default_factory=dict)

    def add(self, other: "ModeCounts") -> None:
        """Add the groups of other steps."""
        self.asked += other.asked
        self.learned += other.learned
        for mode, counts in other.sampled.items():
            self.sampled[mode] = self.sampled.get(mode, Acceptance()) + counts


def modes_far_below(
    asked: Mapping[ThinkingMode, int], learned: Mapping[ThinkingMode, int]
) -> list[ThinkingMode]:
    """Return the modes with less than half of the share of the groups that was asked for.

    Example:
        >>> think, no_think = ThinkingMode.THINK, ThinkingMode.NO_THINK
        >>> [m.value for m in modes_far_below({think: 8, no_think: 8}, {think: 8, no_think: 2})]
        ['NoThink']
        >>> modes_far_below({think: 8, no_think: 8}, {think: 6, no_think: 2})
        []
    """
    num_asked, num_learned = sum(asked.values()), sum(learned.values())
    return [
        mode
        for mode in asked
        if learned.get(mode, 0) * num_asked < _FAR_BELOW * asked[mode] * num_learned
    ]


def sentences(counts: ModeCounts, rl: Rl) -> list[str]:
    """Return what is told of each mode that is far below its share: counts, and what to do."""
    told = []
    for mode in modes_far_below(counts.asked, counts.learned):
        learned, asked, sampled = counts.learned, counts.asked, counts.sampled[mode]
        told.append(
            f"only {learned[mode] / learned.total():.0%} of the {learned.total()} groups learned "
            f"from are in the mode {mode.value}, asked for: {asked[mode] / asked.total():.0%} "
            f"(spec.rl.modes). Of {sampled.num_sampled} groups sampled in it {sampled.num_usable} "
            f"were usable, {sampled.num_all_right} all right, {sampled.num_all_wrong} all wrong. "
            f"What to do: {_advice(rl, sampled)}"
        )
    return told


def _advice(rl: Rl, sampled: Acceptance) -> str:
    if not rl.dynamic_sampling:
        return "replace groups that teach nothing: dynamicSampling: true"
    clips = "harder" if sampled.num_all_right >= sampled.num_all_wrong else "easier"
    return (
        f"raise spec.rl.maxSamplingRounds ({rl.max_sampling_rounds}) or give {clips} clips; a mode "
        "that is mastered has nothing left to teach"
    )


class ModeWatch:
    """Looks at the shares of all steps between two validations. A new attempt begins anew."""

    def __init__(self, rl: Rl) -> None:
        """Begin with nothing counted."""
        self._rl = rl
        self._since, self._counts = 0, ModeCounts()

    def see(self, step: int, counts: ModeCounts) -> None:
        """Count a step; where validation is due, warn of modes that are far below their share."""
        self._since = self._since or step
        self._counts.add(counts)
        if step % self._rl.validation.every == 0 or step == self._rl.steps:
            for sentence in sentences(self._counts, self._rl):
                _LOG.warning("steps %d to %d: %s", self._since, step, sentence)
            self._since, self._counts = 0, ModeCounts()
