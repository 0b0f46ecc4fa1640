"""Verdicts of a played verifier on the sentences of rollouts, and what is learned from them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from made_clips import clip_row, publish_rows
from made_prompts import made_row
from played_engines import END_ID, PlayedPool, PlayedVerifier, byte_tokenizer, encoded, said
from played_stage import GroupsInTurn, Played, play_stage

from assay_api import EngineError, InvalidInput, ResolvedStageJob, ThinkingMode
from assay_api.factuality import Factuality
from assay_trainer.answers.rule import LETTER_RULE
from assay_trainer.families.token_bytes import TokenBytes
from assay_trainer.loops.factual_scoring import FactualScoring
from assay_trainer.loops.factuality_metrics import factuality_metrics
from assay_trainer.records import PromptItem, Rollout, RolloutGroup, ScoredGroup
from assay_trainer.required_rows import check_rows
from assay_trainer.rewards.factuality import FactualityCheck
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score
from assay_trainer.rewards.scoring import Scored, score_groups
from assay_trainer.rewards.terms import Term, one_by_one
from assay_trainer.rollout.sampler import ClipRequest, Sample
from assay_trainer.rollout_log import read_rollouts

EVIDENCE = "Ana lives in Rome."
RIGHT, WRONG = "</think><answer>B</answer>", "</think><answer>A</answer>"


def said_by(pair: Pair) -> Outcome:
    """Sentences say themselves what they are."""
    scores = {"So": 0.9, "Perhaps": 0.5, "Not": 0.1}
    return Score(scores[pair.hypothesis.split()[0].strip(".")])


def rollout(text: str, *, ended: bool = True) -> Rollout:
    ids = (*text.encode(), *([END_ID] if ended else []))
    return Rollout(ids, (-1.0,) * len(ids), text, not ended, 0)


def group(*texts: str, evidence: str = EVIDENCE, opening: str = "<think>") -> RolloutGroup:
    row = made_row(evidence=evidence)
    prompt = PromptItem(row, ThinkingMode.THINK, "Q? " + opening, "Q?", opening=opening)
    return RolloutGroup(prompt, tuple(rollout(text) for text in texts))


def scored(
    *groups: RolloutGroup, rule: Callable[[Pair], Outcome] = said_by, **fields: Any
) -> Scored:
    spec = Factuality.model_validate({"verifier": "facts", **fields})
    check = FactualityCheck(
        PlayedVerifier(rule), spec, lambda *sample: LETTER_RULE.parse(*sample).well_formed
    )

    def by_accuracy(members: Sequence[RolloutGroup], more: Sequence[Term]) -> Scored:
        return score_groups(
            members, (ACCURACY, *more), std_floor=1e-3, is_correct=LETTER_RULE.is_correct
        )

    return FactualScoring(spec, check, TokenBytes(byte_tokenizer())).score(groups, by_accuracy)


def _accuracy(prompt: PromptItem, one: Rollout) -> Score:
    return Score(LETTER_RULE.value(prompt, one))


ACCURACY = Term("Accuracy", 1.0, one_by_one(_accuracy))


def runs(group: ScoredGroup, index: int) -> list[tuple[str, float]]:
    """The text of a rollout in pieces of equal advantage; the token that ended it is left out."""
    found: list[tuple[str, float]] = []
    text = group.group.rollouts[index].text
    for character, advantage in zip(text, group.token_advantages[index], strict=False):
        if found and found[-1][1] == advantage:
            found[-1] = (found[-1][0] + character, advantage)
        else:
            found.append((character, advantage))
    return found


def test_signs_turn_in_sentences_only_and_the_mean_verdict_is_a_term() -> None:
    (one,) = scored(group("So. Not. " + RIGHT, "So. Perhaps. " + WRONG)).groups
    assert one.terms == {"Accuracy": (1.0, 0.0), "Factuality": (0.0, 0.5)}
    assert one.rewards == (1.0, 0.5)
    up, down = one.advantages
    assert (up, down) == pytest.approx((1 / math.sqrt(2), -1 / math.sqrt(2)))
    assert runs(one, 0) == [("So. ", up), ("Not.", -up), (" " + RIGHT, up)]
    assert runs(one, 1) == [("So.", -down), (" Perhaps. " + WRONG, down)]


def test_the_end_token_has_the_rollouts_own_advantage() -> None:
    (one,) = scored(group("So." + RIGHT, "So." + WRONG), advantages="AsReleased").groups
    assert [tokens[-1] for tokens in one.token_advantages] == pytest.approx([0.70710678] * 2)
    (one,) = scored(group("So." + RIGHT, "So." + WRONG)).groups
    assert [tokens[-1] for tokens in one.token_advantages] == list(one.advantages)


def test_a_verdict_is_about_the_evidence_and_the_sentence_as_the_model_wrote_it() -> None:
    verifier = PlayedVerifier(said_by)
    spec = Factuality(verifier="facts")
    check = FactualityCheck(verifier, spec, lambda prompt, one: True)
    whole, rest = group("<think>So it is.</think>", opening=""), group("Not so. So.</think>")
    samples = [(one.prompt, one.rollouts[0]) for one in (whole, rest)]
    first, second = check.verdicts(samples)
    assert verifier.asked == [
        (Pair(EVIDENCE, "So it is."), Pair(EVIDENCE, "Not so."), Pair(EVIDENCE, "So."))
    ], "one call for the whole step"
    assert not isinstance(first, Failure) and not isinstance(second, Failure)
    assert [(one.start, one.end, one.verdict) for one in first] == [(7, 16, 1)]
    assert [(one.start, one.end, one.verdict) for one in second] == [(0, 7, -1), (8, 11, 1)]


@pytest.mark.parametrize(
    ("texts", "evidence"),
    [
        (("So." + RIGHT, "So." + WRONG), ""),
        (("So.</think>B", "Not.</think>A"), EVIDENCE),
        ((RIGHT, WRONG), EVIDENCE),
        (("So.", "Not."), EVIDENCE),
    ],
    ids=["no evidence", "wrong format", "empty think block", "no tags"],
)
def test_what_cannot_be_checked_is_learned_from_as_before(
    texts: tuple[str, str], evidence: str
) -> None:
    def never(pair: Pair) -> Outcome:
        raise AssertionError(pair)

    for rule in ("Flip", "AsReleased", "MaskOnly", "Additive"):
        (one,) = scored(group(*texts, evidence=evidence), rule=never, advantages=rule).groups
        assert one.terms["Factuality"] == (0.0, 0.0)
        plain = [
            (advantage,) * len(member.token_ids)
            for advantage, member in zip(one.advantages, one.group.rollouts, strict=True)
        ]
        assert list(one.token_advantages) == plain


def test_with_neutral_verdicts_it_is_grpo_exactly() -> None:
    texts = ("So. Perhaps. " + RIGHT, "So. So. So." + WRONG)
    (one,) = scored(group(*texts), rule=lambda pair: Score(0.5)).groups
    (plain,) = score_groups(
        [one.group],
        (ACCURACY,),
        std_floor=1e-3,
        is_correct=LETTER_RULE.is_correct,
    ).groups
    assert (one.rewards, one.advantages) == (plain.rewards, plain.advantages)
    assert one.token_advantages == plain.token_advantages


def test_one_sentence_of_two_thousand_tokens_is_one() -> None:
    long = "So " + "so " * 700
    (one,) = scored(group(long + RIGHT, WRONG), rewardWeight=0).groups
    assert one.judged is not None
    assert [(s.start, s.end, s.verdict) for s in one.judged[0].sentences] == [(0, 2102, 1)]
    assert "Factuality" not in one.terms and one.rewards == (1.0, 0.0)


@pytest.mark.parametrize("score", [math.nan, 1.3, -0.1, math.inf])
def test_a_score_that_is_none_fails_its_group_and_names_itself(score: float) -> None:
    bad = group("So bad." + RIGHT, "So." + WRONG)
    good = group("So." + RIGHT, "So." + WRONG)
    found = scored(bad, good, rule=lambda pair: Score(score if "bad" in pair.hypothesis else 0.9))
    assert [one.group for one in found.groups] == [good]
    (failure,) = found.failures
    assert (failure.group, failure.reward) == (bad, "Factuality")
    assert failure.reason == (
        f"the verifier facts gave {score} to sentence 1 of a rollout of row v1: a score must be a "
        "number from 0 to 1"
    )


def test_a_sentence_without_a_verdict_is_no_neutral_one() -> None:
    def rule(pair: Pair) -> Outcome:
        return Abstain("Refused") if "long" in pair.hypothesis else said_by(pair)

    found = scored(group("So long. Not. " + RIGHT, "So." + WRONG), rule=rule)
    (one,) = found.groups
    assert one.terms["Factuality"] == (None, None), "the term is left out for the whole group"
    assert [dropped.reward for dropped in found.abstentions] == ["Factuality"]
    assert one.rewards == (1.0, 0.0)
    up, _ = one.advantages
    assert runs(one, 0) == [("So long. ", up), ("Not.", -up), (" " + RIGHT, up)]
    metrics = factuality_metrics([one])
    assert metrics["factuality/unjudged"] == pytest.approx(1 / 3)
    assert metrics["factuality/contradicted"] == 0.5


def test_shares_of_verdicts_and_flipped_tokens_by_right_and_wrong_answers() -> None:
    (one,) = scored(group("So. Not." + RIGHT, "So. So. Perhaps." + WRONG)).groups
    metrics = factuality_metrics([one])
    right, wrong = (len(member.token_ids) for member in one.group.rollouts)
    assert metrics == pytest.approx(
        {
            "factuality/checked": 1.0,
            "factuality/unjudged": 0.0,
            "factuality/mean_verdict": 2 / 5,
            "factuality/supported": 3 / 5,
            "factuality/neutral": 1 / 5,
            "factuality/contradicted": 1 / 5,
            "factuality/flipped_tokens": (4 + 6) / (right + wrong),
            "factuality/mean_verdict_right": 0.0,
            "factuality/supported_right": 0.5,
            "factuality/neutral_right": 0.0,
            "factuality/contradicted_right": 0.5,
            "factuality/flipped_tokens_right": 4 / right,
            "factuality/mean_verdict_wrong": 2 / 3,
            "factuality/supported_wrong": 2 / 3,
            "factuality/neutral_wrong": 1 / 3,
            "factuality/contradicted_wrong": 0.0,
            "factuality/flipped_tokens_wrong": 6 / wrong,
        }
    )


def test_a_stage_without_a_verifier_has_no_such_numbers() -> None:
    (one,) = score_groups(
        [group(RIGHT, WRONG)], (ACCURACY,), std_floor=1e-3, is_correct=LETTER_RULE.is_correct
    ).groups
    assert factuality_metrics([one]) == {}


Orders = Callable[..., ResolvedStageJob]


@pytest.fixture(scope="module")
def with_evidence(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        clip_row(
            f"{split}-{label}".lower(), split=split, label=label, generator=label, evidence=EVIDENCE
        )
        for split in ("Train", "Test")
        for label in ("real", "fake")
    ]
    return publish_rows(tmp_path_factory.mktemp("evidence"), rows).url


def answer(text: str) -> Callable[[ClipRequest], Sample]:
    return lambda request: said(text, token_ids=(*encoded(text), END_ID))


def play(orders: Orders, dataset: str, verifier: PlayedVerifier) -> Played:
    rl = {"steps": 1, "promptsPerStep": 1, "groupSize": 2, "groupFilter": "Reward"}
    rl |= {"maxSamplingRounds": 1, "factuality": {"verifier": "facts"}}
    job = orders(rl=rl, rewards=[{"type": "Accuracy"}])
    job = job.model_copy(update={"dataset": dataset})
    both = [answer("<think>So. Not." + end) for end in (RIGHT, WRONG)]
    return play_stage(job, PlayedPool(GroupsInTurn(both, alone=both[0])), verifier=verifier)


def test_a_stage_checks_its_verifier_and_learns_from_verdicts(
    played_orders: Orders, with_evidence: str
) -> None:
    verifier = PlayedVerifier(said_by)
    played = play(played_orders, with_evidence, verifier)
    assert verifier.is_checked
    ((micro_batch,),) = played.learner.updates
    signs = []
    for gradients in micro_batch.gradients:
        # The gradient of a token is the negative of its advantage, over the number of tokens.
        signs.append(
            {"So.": -gradients[7] > 0, "Not.": -gradients[11] > 0, "end": -gradients[-1] > 0}
        )
    assert sorted(signs, key=lambda one: one["end"]) == [
        {"So.": True, "Not.": False, "end": False},
        {"So.": True, "Not.": False, "end": True},
    ]
    metrics = played.metrics(1)
    assert metrics["factuality/supported"] == metrics["factuality/contradicted"] == 0.5
    assert metrics["reward/factuality"] == 0.0
    assert metrics["factuality/held_out_supported"] == 0.5
    assert metrics["factuality/held_out_mean_verdict"] == 0.0
    (logged,) = read_rollouts(played.parts.store, 1)
    assert logged.evidence == EVIDENCE
    for one in logged.rollouts:
        assert one.sentences is not None and one.token_advantages is not None
        texts = [one.response[s.start : s.end] for s in one.sentences]
        assert [(t, s.verdict) for t, s in zip(texts, one.sentences, strict=True)] == [
            ("So.", 1),
            ("Not.", -1),
        ]
        assert one.token_ends == (*range(1, len(one.response) + 1), len(one.response))
        assert len(one.token_advantages) == len(one.response) + 1


def test_a_verifier_that_fails_is_asked_again_and_at_last_ends_the_stage(
    played_orders: Orders, with_evidence: str
) -> None:
    verifier = PlayedVerifier(lambda pair: Failure("HTTP 503"))
    with pytest.raises(EngineError, match="could be scored: HTTP 503"):
        play(played_orders, with_evidence, verifier)
    # Once about the held-out answers.
    assert len(verifier.asked) == 1 + 3


def test_a_dataset_without_evidence_is_refused(played_orders: Orders, clips: str) -> None:
    from assay_data.dataset import ClipDataset
    from assay_data.store import open_store

    rl = {"steps": 1, "factuality": {"verifier": "facts"}}
    spec = played_orders(rl=rl, rewards=[{"type": "Accuracy"}]).stage.spec
    with pytest.raises(InvalidInput, match="none of 8 rows of Train has evidence"):
        check_rows(ClipDataset.open(open_store(clips)), spec)
