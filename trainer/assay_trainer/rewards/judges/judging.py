"""What judges and verifiers are, apart from any server: text in, a score or the lack of one out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from assay_api import ResolvedJudge
from assay_trainer.rewards.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and the evidence that it is held against."""

    premise: str
    """The evidence."""
    hypothesis: str
    """The sentence."""


class PairScorer(Protocol):
    """A verifier: scores how far premises support their hypotheses. May be asked by threads."""

    @property
    def name(self) -> str:
        """Name of the RewardModel."""
        ...

    def check(self) -> None:
        """Return if it can be asked.

        Raises:
            JudgeError: it cannot.
        """
        ...

    def score(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return of each pair, in order, a score from 0 to 1 (supported), or why there is none.

        Raises:
            JudgeError: it is down.
        """
        ...


class Judging(Protocol):
    """Scores reasoning. May be asked from several threads at once."""

    @property
    def spec(self) -> ResolvedJudge:
        """Its name, how many frames it is shown, how many questions it takes at once."""
        ...

    def check(self) -> None:
        """Return if it can be asked.

        Raises:
            JudgeError: it cannot.
        """
        ...

    def score(self, question: str, reasoning: str, image_urls: Sequence[str]) -> Outcome:
        """Return a score between 0 and 1, or why there is none.

        Raises:
            JudgeError: it is down.
        """
        ...
