"""What a reward returns: a score, an abstention or a failure. An error is never a number.

- ``Score``: the reward's value, before its weight.
- ``Abstain``: there is no value, and asking again would not give one. The term is left out for the
  whole group, so that its rollouts stay comparable.
- ``Failure``: the world failed, and asking again may help. The group is handed back to be retried.
"""

from dataclasses import dataclass
from typing import Protocol

from assay_trainer.records import PromptItem, Rollout


@dataclass(frozen=True, slots=True)
class Score:
    """The reward's value."""

    value: float


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
