"""Scoring with a verifier: verdicts, then rewards, then the advantages of tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from assay_api.factuality import Factuality
from assay_trainer.algorithms.sentence_tokens import token_ends, token_sentences
from assay_trainer.algorithms.sentences import Sentence
from assay_trainer.algorithms.step_advantages import step_advantages
from assay_trainer.records import JudgedReasoning, Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rewards.factuality import FactualityCheck, Verdicts, mean_verdict
from assay_trainer.rewards.outcome import Failure
from assay_trainer.rewards.scoring import Dropped, Scored
from assay_trainer.rewards.terms import Term

TERM = "Factuality"
"""Name of the reward's term."""

ScoreGroups = Callable[[Sequence[RolloutGroup], Sequence[Term]], Scored]
"""Scores groups by the stage's own terms and those given."""


class BytesOfTokens(Protocol):
    """Tells the bytes that tokens stand for."""

    def of(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """Return the bytes of each token."""
        ...


@dataclass(frozen=True, slots=True)
class FactualScoring:
    """Scores groups whose reasoning is checked sentence by sentence."""

    spec: Factuality
    check: FactualityCheck
    tokens: BytesOfTokens

    def score(self, groups: Sequence[RolloutGroup], score_groups: ScoreGroups) -> Scored:
        """Return the groups with rewards and advantages by token; failed verdicts drop a group.

        Raises:
            JudgeError: the verifier or a judge is down.
        """
        verdicts, failures = self._verdicts(groups)
        checked = [group for group in groups if id(group) in verdicts]
        outcomes = [mean_verdict(one) for group in checked for one in verdicts[id(group)]]
        weight = self.spec.reward_weight
        terms = (Term(TERM, weight, lambda samples: outcomes),) if weight else ()
        scored = score_groups(checked, terms)
        learned = tuple(self._by_token(one, verdicts[id(one.group)]) for one in scored.groups)
        return replace(scored, groups=learned, failures=(*failures, *scored.failures))

    def _verdicts(
        self, groups: Sequence[RolloutGroup]
    ) -> tuple[dict[int, tuple[Verdicts, ...]], list[Dropped]]:
        """Return the verdicts of groups by their identity, and the groups that got none."""
        samples = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
        given = iter(self.check.verdicts(samples))
        found: dict[int, tuple[Verdicts, ...]] = {}
        failures: list[Dropped] = []
        for group in groups:
            own = [next(given) for _ in group.rollouts]
            failed = next((one for one in own if isinstance(one, Failure)), None)
            if failed is not None:
                failures.append(Dropped(group, TERM, failed.reason))
            else:
                found[id(group)] = tuple(one for one in own if not isinstance(one, Failure))
        return found, failures

    def _by_token(self, scored: ScoredGroup, verdicts: Sequence[Verdicts]) -> ScoredGroup:
        opening = scored.group.prompt.opening
        advantages: list[tuple[float, ...]] = []
        judged: list[JudgedReasoning] = []
        for rollout, advantage, sentences in zip(
            scored.group.rollouts, scored.advantages, verdicts, strict=True
        ):
            spelt = _spelt(self.tokens.of(rollout.token_ids), rollout)
            judged.append(JudgedReasoning(sentences, token_ends(spelt)))
            if not sentences:
                advantages.append((advantage,) * len(spelt))
                continue
            places = tuple(
                Sentence(one.start + len(opening), one.end + len(opening)) for one in sentences
            )
            of_token = token_sentences(opening + rollout.text, spelt, places, opening=len(opening))
            advantages.append(
                step_advantages(
                    advantage,
                    # A sentence without a verdict is learned from as a neutral one.
                    [None if i is None else sentences[i].verdict or 0 for i in of_token],
                    self.spec.advantages,
                    additive_weight=self.spec.additive_weight,
                )
            )
        return replace(scored, by_token=tuple(advantages), judged=tuple(judged))


def _spelt(tokens: tuple[bytes, ...], rollout: Rollout) -> tuple[bytes, ...]:
    """Return the bytes of tokens, none of the one that ended it: the text is without that."""
    return tokens if rollout.truncated or not tokens else (*tokens[:-1], b"")
