"""What a judge is, apart from any server: reasoning in, a score or the lack of one out."""

from collections.abc import Sequence
from typing import Protocol

from assay_api import ResolvedJudge
from assay_trainer.rewards.outcome import Outcome


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
