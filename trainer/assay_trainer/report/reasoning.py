"""A rollout's text in pieces, each with the verdict on its sentence and its tokens' advantage."""

from dataclasses import dataclass
from itertools import pairwise

from assay_trainer.records import JudgedSentence
from assay_trainer.rollout_log import LoggedRollout

_NAMES = {1: "supported", 0: "neutral", -1: "contradicted", None: "unjudged"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that belongs to one sentence, or to none, and is learned with one advantage."""

    text: str
    verdict: str
    """`supported`, `neutral`, `contradicted`, or `unjudged`; empty outside of sentences."""
    told: str
    """Verdict, the verifier's score and the advantage, for people."""


def pieces(rollout: LoggedRollout) -> tuple[Piece, ...]:
    """Return the pieces of a rollout, which together are its response; none without verdicts."""
    if not rollout.sentences or not rollout.token_ends or not rollout.token_advantages:
        return ()
    advantage_of: list[float] = []
    for end, advantage in zip(rollout.token_ends, rollout.token_advantages, strict=True):
        advantage_of += [advantage] * (end - len(advantage_of))
    # Half a character at the very end is in no token as a whole.
    advantage_of += [rollout.token_advantages[-1]] * (len(rollout.response) - len(advantage_of))
    places = [place for one in rollout.sentences for place in (one.start, one.end)]
    changes = [i + 1 for i, (a, b) in enumerate(pairwise(advantage_of)) if a != b]
    cuts = sorted({0, *places, *changes, len(rollout.response)})
    return tuple(
        _piece(rollout.response[start:end], _sentence_at(start, rollout), advantage_of[start])
        for start, end in pairwise(cuts)
    )


def _sentence_at(place: int, rollout: LoggedRollout) -> JudgedSentence | None:
    return next((s for s in rollout.sentences or () if s.start <= place < s.end), None)


def _piece(text: str, sentence: JudgedSentence | None, advantage: float) -> Piece:
    learned = f"advantage {advantage:+.2f}"
    if sentence is None:
        return Piece(text, "", learned)
    verdict = _NAMES[sentence.verdict]
    score = "" if sentence.score is None else f", score {sentence.score:.2f}"
    return Piece(text, verdict, f"{verdict}{score}; {learned}")
