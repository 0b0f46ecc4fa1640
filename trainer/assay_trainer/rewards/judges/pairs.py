"""The client of a verifier: pairs of premise and hypothesis, scored by a server's `/score`.

All pairs of a step are asked at once: each distinct one once, the long with the long, many in a
request. Scores are kept by content, so that a pair that comes again costs nothing. A score that is
no number from 0 to 1 is a failure of its pair, an answer that can't be matched to its pairs one of
all of them: neither becomes a number.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from assay_api import ResolvedJudge
from assay_trainer import exported
from assay_trainer.rewards.judges.connection import PATIENCE_SECONDS, Connection, UnansweredError
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.judges.score_cache import ScoreCache
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score

_LOG = logging.getLogger(__name__)

_EXAMPLE = Pair("The sky is blue.", "The sky has a colour.")
"""What a server is asked to see whether it scores pairs."""


class PairsClient:
    """Scores pairs by asking a server. Safe to use from several threads."""

    def __init__(
        self,
        spec: ResolvedJudge,
        *,
        first_pause_seconds: float = 1.0,
        max_consecutive_failures: int = 8,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Prepare to ask; nothing is sent yet. The arguments are those of `Connection`."""
        self.spec = spec
        self._connection = Connection(
            spec,
            first_pause_seconds=first_pause_seconds,
            max_consecutive_failures=max_consecutive_failures,
            patience_seconds=patience_seconds,
        )
        self._cache = ScoreCache()
        self._told: set[str] = set()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the RewardModel."""
        return self.spec.name

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._connection.close()

    def check(self) -> None:
        """Return if the server answers, knows the model, and scores a pair.

        Raises:
            JudgeError: it does not; the message names the URL, the model and what went wrong.
        """
        self._connection.check_model()
        try:
            (outcome,) = self._asked([_EXAMPLE])
        except UnansweredError as error:
            raise self._connection.refuse(f"it does not score pairs by /score: {error}") from None
        if not isinstance(outcome, Score):
            raise self._connection.refuse(
                "its score of a pair is no number from 0 to 1 (a verifier's are probabilities)"
            )

    def score(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return of each pair, in order, its score from 0 to 1, or why there is none.

        Raises:
            JudgeError: too many requests in a row have failed; nothing more is sent.
        """
        return self._cache.filled(pairs, self._score_new)

    def _score_new(self, pairs: Sequence[Pair]) -> list[Outcome]:
        requests = list(by_length(pairs, self.spec.pairs_per_request))
        with ThreadPoolExecutor(max_workers=self.spec.concurrency) as threads:
            answers = list(threads.map(lambda r: self._request([pairs[i] for i in r]), requests))
        found: dict[int, Outcome] = {}
        for request, outcomes in zip(requests, answers, strict=True):
            found |= zip(request, outcomes, strict=True)
        return [found[i] for i in range(len(pairs))]

    def _request(self, pairs: Sequence[Pair]) -> list[Outcome]:
        try:
            outcomes = self._asked(pairs)
        except UnansweredError as error:
            if error.status == 400:
                return self._without_refused(pairs, error)
            return [self._connection.failed(str(error))] * len(pairs)
        self._connection.succeeded()
        return outcomes

    def _without_refused(self, pairs: Sequence[Pair], error: UnansweredError) -> list[Outcome]:
        """Ask half by half: a server refuses a whole request where one pair is too long for it."""
        if len(pairs) > 1:
            half = len(pairs) // 2
            return [*self._request(pairs[:half]), *self._request(pairs[half:])]
        exported.VERIFIER_REFUSED_PAIRS.labels(self.name).inc()
        self._tell_once("refused", f"a pair is refused and has no verdict: {error}")
        return [Abstain("Refused")]

    def _asked(self, pairs: Sequence[Pair]) -> list[Outcome]:
        body = {
            "model": self.spec.model,
            "text_1": [pair.premise for pair in pairs],
            "text_2": [pair.hypothesis for pair in pairs],
        }
        reply = self._connection.post("/score", body)
        outcomes = read_scores(reply, len(pairs))
        exported.VERIFIER_PAIRS.labels(self.name).inc(len(pairs))
        self._tell_cut(reply)
        return outcomes

    def _tell_cut(self, reply: Any) -> None:
        usage = reply.get("usage")
        num_cut = usage.get("cut_pairs", 0) if isinstance(usage, dict) else 0
        if isinstance(num_cut, int) and num_cut > 0:
            exported.VERIFIER_CUT_PAIRS.labels(self.name).inc(num_cut)
            self._tell_once(
                "cut",
                f"{num_cut} pairs of a request are longer than spec.maxModelLengthTokens: the end "
                "of their evidence was cut off; assay_verifier_cut_pairs counts all of them",
            )

    def _tell_once(self, what: str, message: str) -> None:
        with self._lock:
            is_new = what not in self._told
            self._told.add(what)
        if is_new:
            _LOG.warning("reward model %s: %s", self.name, message)


def by_length(pairs: Sequence[Pair], size: int) -> Iterator[list[int]]:
    """Yield the places of pairs in requests of at most `size`, longest first.

    Pairs of about the same length share a request, so that little of it is padding.

    Example:
        >>> list(by_length([Pair("a", "b"), Pair("aaaa", "b"), Pair("aa", "b")], 2))
        [[1, 2], [0]]
    """
    lengths = [len(pair.premise) + len(pair.hypothesis) for pair in pairs]
    order = sorted(range(len(pairs)), key=lambda i: -lengths[i])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def read_scores(reply: Any, num_pairs: int) -> list[Outcome]:
    """Return the outcomes that a server's answer holds, by the index that each one has.

    Raises:
        UnansweredError: it does not hold one score for each pair.

    Example:
        >>> read_scores({"data": [{"index": 1, "score": 0.2}, {"index": 0, "score": 1.3}]}, 2)
        [Failure(reason='the score 1.3 is no number from 0 to 1'), Score(value=0.2)]
    """
    try:
        scores = {int(item["index"]): item["score"] for item in reply["data"]}
        num_items = len(reply["data"])
    except (KeyError, TypeError, ValueError):
        raise UnansweredError("the answer holds no scores", transient=False) from None
    if num_items != num_pairs or scores.keys() != set(range(num_pairs)):
        raise UnansweredError(
            f"the answer holds {num_items} scores of {len(scores)} pairs, {num_pairs} were asked "
            "about",
            transient=False,
        )
    return [_outcome(scores[i]) for i in range(num_pairs)]


def _outcome(score: object) -> Outcome:
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    # Not a number compares false with everything.
    if is_number and 0 <= score <= 1:  # type: ignore[operator]
        return Score(float(score))  # type: ignore[arg-type]
    return Failure(f"the score {str(score)[:40]} is no number from 0 to 1")
