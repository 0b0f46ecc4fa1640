"""A chat model as a verifier: asked for the verdict on each pair of premise and hypothesis."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.judges.score_cache import ScoreCache
from assay_trainer.rewards.outcome import Outcome


class ChatPairs:
    """Scores pairs by a judge: the premise is its question, the hypothesis what it judges."""

    def __init__(self, judge: Judge) -> None:
        """Ask this judge; nothing is sent yet."""
        self._judge = judge
        self._cache = ScoreCache()

    @property
    def name(self) -> str:
        """Name of the RewardModel."""
        return self._judge.spec.name

    def __enter__(self) -> Self:
        """Return the verifier itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the judge's connections."""
        self._judge.__exit__(*exception)

    def check(self) -> None:
        """Return if the judge can be asked.

        Raises:
            JudgeError: it cannot.
        """
        self._judge.check()

    def score(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return of each pair, in order, its score from 0 to 1, or why there is none.

        Raises:
            JudgeError: too many requests in a row have failed; nothing more is sent.
        """
        return self._cache.filled(pairs, self._score_new)

    def _score_new(self, pairs: Sequence[Pair]) -> list[Outcome]:
        with ThreadPoolExecutor(max_workers=self._judge.spec.concurrency) as threads:
            return list(threads.map(lambda p: self._judge.score(p.premise, p.hypothesis), pairs))
