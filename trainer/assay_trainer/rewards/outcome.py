"""What a reward returns: a score, an abstention or a failure. An error is never a number.

- ``Score``: the reward's value, before its weight.
- ``Abstain``: there is no value, and asking again would not give one. The term is left out for the
  whole group, so that its rollouts stay comparable.
- ``Failure``: the world failed, and asking again may help. The group is handed back to be retried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assay_trainer.records import PromptItem, Rollout

Sample = tuple[PromptItem, Rollout]
"""One rollout, with the prompt that it answers."""


@dataclass(frozen=True, slots=True)
class Score:
    """The reward's value."""

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Other numbers of this rollout that are worth seeing; they are logged and not learned from."""


@dataclass(frozen=True, slots=True)
class Abstain:
    """No value, for a reason given as one CamelCase word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """No value because something outside failed; the reason is for people."""

    reason: str


Outcome = Score | Abstain | Failure


class RewardFunction(Protocol):
    """A reward. May be called from several threads at once."""

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Outcome:
        """Return what one rollout of the prompt is worth."""
        ...


class BatchRewardFunction(Protocol):
    """A reward of all rollouts of a step at once."""

    def __call__(self, samples: Sequence[Sample]) -> Sequence[Outcome]:
        """Return what each rollout is worth, in order. Those of one group stand together."""
        ...
