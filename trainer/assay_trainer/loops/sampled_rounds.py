"""Rounds of groups sampled for one batch: what to ask next, what is learned from, what was seen."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from pydantic.alias_generators import to_snake

from assay_api import ThinkingMode
from assay_api.stage import AdvantageStd, GroupFilter, Rl
from assay_trainer.algorithms.advantages import batch_std
from assay_trainer.algorithms.dynamic_sampling import (
    Acceptance,
    count_acceptance,
    is_tie,
    modes_in_turn,
    modes_of_next_round,
    usable_within,
)
from assay_trainer.loops.factuality_metrics import factuality_metrics
from assay_trainer.loops.mode_shares import ModeCounts
from assay_trainer.records import ScoredGroup
from assay_trainer.rewards.scoring import Scored


class SampledRounds:
    """All that was sampled for one batch. What it says depends on that and on the step only."""

    def __init__(self, rl: Rl, step: int) -> None:
        """Begin the batch that follows `step` with its first round to be asked for."""
        self._rl = rl
        self._filter = rl.group_filter if rl.dynamic_sampling else GroupFilter.REWARD
        # Modes go on in turn from batch to batch: shares are right where a batch is no multiple.
        first = modes_in_turn(rl.modes, step * rl.prompts_per_step, rl.prompts_per_step)
        self._first, self._num_rounds = first, 0
        self._quotas = Counter(first)
        self._groups: list[ScoredGroup] = []
        self._failed: Counter[ThinkingMode] = Counter()
        self._num_abstained = 0

    def next_modes(self) -> list[ThinkingMode]:
        """Return the mode of each prompt of the next round; none when sampling is over."""
        if not self._num_rounds:
            return self._first
        return modes_of_next_round(
            self._quotas,
            self.acceptance_by_mode(),
            num_rounds=self._num_rounds,
            max_rounds=self._rl.max_sampling_rounds if self._rl.dynamic_sampling else 1,
        )

    def add(self, scored: Scored) -> None:
        """Add what became of a round."""
        self._num_rounds += 1
        self._groups += scored.groups
        self._failed.update(dropped.group.prompt.mode for dropped in scored.failures)
        self._num_abstained += len(scored.abstentions)

    @property
    def groups(self) -> Sequence[ScoredGroup]:
        """All groups that have rewards."""
        return self._groups

    def batch(self) -> tuple[ScoredGroup, ...]:
        """Return the groups of the batch; none if there is nothing to learn from.

        With dynamic sampling, usable groups, of each mode as many as were asked for. Without, all
        groups that were sampled: ties have no gradient, and count where the loss is divided.
        """
        if self._rl.dynamic_sampling:
            batch = usable_within(self._groups, self._filter, self._quotas)
        else:
            batch = () if all(map(is_tie, self._groups)) else tuple(self._groups)
        if not batch or self._rl.advantage_std is not AdvantageStd.BATCH:
            return batch
        rewards = [reward for group in batch for reward in group.rewards]
        std = batch_std(rewards, std_floor=self._rl.advantage_std_floor)
        return tuple(group.scaled(1 / std) for group in batch)

    def mode_counts(self) -> ModeCounts:
        """Return how many groups were asked for, learned from and sampled, by mode."""
        learned = Counter(one.group.prompt.mode for one in self.batch() if not is_tie(one))
        return ModeCounts(self._quotas, learned, self.acceptance_by_mode())

    def acceptance_by_mode(self) -> dict[ThinkingMode, Acceptance]:
        """Return the counts of all rounds together, of each mode."""
        return {
            mode: count_acceptance(
                [one for one in self._groups if one.group.prompt.mode is mode],
                self._filter,
                self._failed[mode],
            )
            for mode in self._quotas
        }

    def acceptance(self) -> Acceptance:
        """Return the counts of all rounds and modes together."""
        return sum(self.acceptance_by_mode().values(), start=Acceptance())

    def metrics(self) -> dict[str, float]:
        """Average over all that was sampled, not only over what is learned from."""
        acceptance = self.acceptance()
        counts = self.mode_counts()
        metrics = {
            "sampling/acceptance": acceptance.rate,
            "sampling/rounds": float(self._num_rounds),
            "sampling/groups": float(acceptance.num_sampled),
            "sampling/failed_groups": float(acceptance.num_failed),
            "sampling/learned_groups": float(counts.learned.total()),
            "judge/abstained_groups": float(self._num_abstained),
        }
        if len(self._quotas) > 1:
            metrics |= _by_mode(counts)
        return metrics | (_means(self._groups) if self._groups else {})


def _by_mode(counts: ModeCounts) -> dict[str, float]:
    learned, metrics = counts.learned, {}
    for mode, acceptance in counts.sampled.items():
        name = to_snake(mode.value)
        metrics[f"sampling/acceptance_{name}"] = acceptance.rate
        if learned:
            metrics[f"sampling/learned_share_{name}"] = learned[mode] / learned.total()
    return metrics


def _means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    rollouts = [rollout for group in groups for rollout in group.group.rollouts]
    metrics = {
        "reward/mean": fmean(reward for group in groups for reward in group.rewards),
        "accuracy/sampled": fmean(right for group in groups for right in group.correct),
        "length/mean_tokens": fmean(len(rollout.token_ids) for rollout in rollouts),
        "length/truncated": fmean(rollout.truncated for rollout in rollouts),
    }
    metrics |= factuality_metrics(groups)
    for name in groups[0].terms:
        given = [value for group in groups for value in group.terms[name] if value is not None]
        if given:
            metrics[f"reward/{to_snake(name)}"] = fmean(given)
    return metrics | _means_beside(groups)


def _means_beside(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Average the numbers that came with the terms, each over the rollouts that had it."""
    given: dict[str, list[float]] = {}
    for group in groups:
        for name, values in group.metrics.items():
            term, _, number = name.partition("/")
            found = given.setdefault(f"plugin/{to_snake(term)}_{number}", [])
            found += [value for value in values if value is not None]
    return {name: fmean(values) for name, values in given.items() if values}
