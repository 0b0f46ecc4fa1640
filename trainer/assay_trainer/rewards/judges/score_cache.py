"""Scores of pairs, kept by content."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.outcome import Outcome, Score

MAX_KEPT = 200_000
"""Scores that are kept at most, the ones asked for last; about 30 MB."""


class ScoreCache:
    """Remembers the score of each pair that was asked about lately. Safe to use from threads.

    Only scores are kept: an abstention or a failure is asked about again when it comes again.
    """

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        """Begin without scores; keep at most so many."""
        self._max_kept = max_kept
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self._lock = threading.Lock()

    def filled(
        self, pairs: Sequence[Pair], ask: Callable[[Sequence[Pair]], list[Outcome]]
    ) -> list[Outcome]:
        """Return the outcome of each pair, asking about those that are not known, each once.

        Args:
            pairs: what is asked; the same pair may come several times.
            ask: returns the outcomes of distinct pairs, in order.
        """
        found: dict[Pair, Outcome] = {}
        with self._lock:
            for pair in dict.fromkeys(pairs):
                key = _key(pair)
                if key in self._scores:
                    self._scores.move_to_end(key)
                    found[pair] = self._scores[key]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in found]
        if new:
            asked = ask(new)
            found |= zip(new, asked, strict=True)
            self._keep(new, asked)
        return [found[pair] for pair in pairs]

    def _keep(self, pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            for pair, outcome in zip(pairs, outcomes, strict=True):
                if isinstance(outcome, Score):
                    self._scores[_key(pair)] = outcome
            while len(self._scores) > self._max_kept:
                self._scores.popitem(last=False)


def _key(pair: Pair) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    premise = pair.premise.encode(errors="surrogatepass")
    text = b"%d:%b%b" % (len(premise), premise, pair.hypothesis.encode(errors="surrogatepass"))
    return hashlib.sha256(text).digest()
