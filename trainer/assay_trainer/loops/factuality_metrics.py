"""What verdicts on the reasoning are about, as numbers of a step."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from assay_trainer.algorithms.step_advantages import num_flipped
from assay_trainer.records import JudgedSentence, ScoredGroup
from assay_trainer.rewards.factuality import Verdicts
from assay_trainer.rewards.outcome import Failure

_LOG = logging.getLogger(__name__)

_VERDICTS = {"supported": 1, "neutral": 0, "contradicted": -1}


@dataclass(frozen=True, slots=True)
class _Judged:
    """A rollout, its sentences, and what became of its tokens."""

    is_right: bool
    sentences: tuple[JudgedSentence, ...]
    num_tokens: int
    num_flipped: int


def factuality_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Return shares of verdicts and of flipped tokens, of all and by right and wrong answers.

    Args:
        groups: what was sampled; none of a stage without a verifier.

    Returns:
        Verdicts as shares of the sentences that have one; flipped tokens as a share of all tokens;
        what has nothing that it could be a share of is left out.
    """
    rollouts = list(_rollouts(groups))
    if not rollouts:
        return {}
    sentences = [one for rollout in rollouts for one in rollout.sentences]
    metrics = {"factuality/checked": fmean(bool(rollout.sentences) for rollout in rollouts)}
    if sentences:
        metrics["factuality/unjudged"] = fmean(one.verdict is None for one in sentences)
    for suffix, right in (("", None), ("_right", True), ("_wrong", False)):
        some = [one for one in rollouts if right is None or one.is_right is right]
        metrics |= {f"factuality/{name}{suffix}": share for name, share in _shares(some)}
    return metrics


def held_out_factuality(verdicts: Sequence[Verdicts | Failure]) -> dict[str, float]:
    """Return the share of supported sentences, and the mean verdict, of held-out answers.

    Answers whose verdicts failed are left out, which is told; without any sentence there is none.
    """
    failures = [one for one in verdicts if isinstance(one, Failure)]
    if failures:
        _LOG.warning(
            "%d of %d held-out answers have no verdicts and are left out: %s",
            *(len(failures), len(verdicts), failures[0].reason),
        )
    known = [
        sentence.verdict
        for one in verdicts
        if not isinstance(one, Failure)
        for sentence in one
        if sentence.verdict is not None
    ]
    if not known:
        return {}
    return {
        "factuality/held_out_supported": fmean(verdict == 1 for verdict in known),
        "factuality/held_out_mean_verdict": fmean(known),
    }


def _rollouts(groups: Sequence[ScoredGroup]) -> Iterator[_Judged]:
    for group in groups:
        rows = zip(
            group.correct,
            group.judged or (),
            group.advantages,
            group.token_advantages,
            strict=group.judged is not None,
        )
        for is_right, judged, advantage, by_token in rows:
            flipped = num_flipped(advantage, by_token)
            yield _Judged(is_right, judged.sentences, len(by_token), flipped)


def _shares(rollouts: Sequence[_Judged]) -> Iterator[tuple[str, float]]:
    verdicts = [
        one.verdict for rollout in rollouts for one in rollout.sentences if one.verdict is not None
    ]
    if verdicts:
        yield "mean_verdict", fmean(verdicts)
        for name, verdict in _VERDICTS.items():
            yield name, fmean(one == verdict for one in verdicts)
    num_tokens = sum(rollout.num_tokens for rollout in rollouts)
    if num_tokens:
        yield "flipped_tokens", sum(one.num_flipped for one in rollouts) / num_tokens
