"""Sentences of the reasoning, held against the row's evidence by a verifier.

All sentences of a step are asked about at once. Not checked are rows without evidence, completions
that don't keep to the answer format, and reasoning without a sentence: they are learned from as
without a verifier.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from assay_api.factuality import Factuality
from assay_trainer.algorithms.sentences import Sentence, reasoning_sentences
from assay_trainer.algorithms.step_advantages import verdict_of
from assay_trainer.records import JudgedSentence, PromptItem, Rollout
from assay_trainer.rewards.judges.judging import Pair, PairScorer
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Sample, Score

Verdicts = tuple[JudgedSentence, ...]
"""The sentences of one rollout, in order."""

NO_VERDICT = Abstain("NoVerdict")
"""The mean verdict where a sentence has none."""


@dataclass(frozen=True, slots=True)
class FactualityCheck:
    """Asks a verifier for the verdicts on the reasoning of a whole step."""

    verifier: PairScorer
    spec: Factuality
    is_well_formed: Callable[[PromptItem, Rollout], bool]
    """Tells which completions keep to the answer format."""

    def verdicts(self, samples: Sequence[Sample]) -> list[Verdicts | Failure]:
        """Return the verdicts on each rollout's sentences, or why there are none; one batched call.

        Raises:
            JudgeError: the verifier is down.
        """
        found = [self._sentences(*sample) for sample in samples]
        pairs = [
            Pair(prompt.row.evidence, (prompt.opening + rollout.text)[one.start : one.end])
            for (prompt, rollout), sentences in zip(samples, found, strict=True)
            for one in sentences
        ]
        outcomes = self.verifier.score(pairs) if pairs else []
        assert len(outcomes) == len(pairs), f"{len(outcomes)} outcomes of {len(pairs)} pairs"
        left = iter(outcomes)
        return [
            self._judged(prompt, sentences, left)
            for (prompt, _), sentences in zip(samples, found, strict=True)
        ]

    def _sentences(self, prompt: PromptItem, rollout: Rollout) -> tuple[Sentence, ...]:
        if not prompt.row.evidence.strip() or not self.is_well_formed(prompt, rollout):
            return ()
        return reasoning_sentences(prompt.opening + rollout.text, prompt.row.language or "en")

    def _judged(
        self, prompt: PromptItem, sentences: Sequence[Sentence], outcomes: Iterator[Outcome]
    ) -> Verdicts | Failure:
        # All are taken off before any is looked at: those of the next rollout come after them.
        own = [next(outcomes) for _ in sentences]
        judged: list[JudgedSentence] = []
        for number, (sentence, outcome) in enumerate(zip(sentences, own, strict=True), start=1):
            if isinstance(outcome, Failure):
                return outcome
            score = outcome.value if isinstance(outcome, Score) else None
            if score is not None and not 0 <= score <= 1:
                return Failure(
                    f"the verifier {self.verifier.name} gave {score} to sentence {number} of a "
                    f"rollout of row {prompt.row_id}: a score must be a number from 0 to 1"
                )
            shift = len(prompt.opening)
            judged.append(
                JudgedSentence(
                    sentence.start - shift,
                    sentence.end - shift,
                    score,
                    None if score is None else self._verdict(score),
                )
            )
        return tuple(judged)

    def _verdict(self, score: float) -> int:
        return verdict_of(
            score,
            supported_from=self.spec.supported_from,
            contradicted_below=self.spec.contradicted_below,
        )


def mean_verdict(sentences: Verdicts) -> Score | Abstain:
    """Return the mean verdict as an outcome of a reward; 0 where nothing was checked.

    A sentence without a verdict makes it an abstention: it is never counted as neutral.

    Source:
        FSPO, arXiv:2505.24630, section 3: the reward's factuality term.
    """
    verdicts = [one.verdict for one in sentences]
    known = [verdict for verdict in verdicts if verdict is not None]
    if len(known) < len(verdicts):
        return NO_VERDICT
    return Score(fmean(known) if known else 0.0)
