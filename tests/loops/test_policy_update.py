"""One update with played ranks: what each learns from, whatever the ranks and micro-batches are."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_prompts import asked
from played_engines import PlayedLearner, PlayedRanks, played_parts

from assay_api import ResolvedStageJob, ThinkingMode
from assay_trainer.loops.policy_update import learn
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup

Orders = Callable[..., ResolvedStageJob]


def group(row_id: str, *rollouts: tuple[Sequence[int], float]) -> ScoredGroup:
    """Of the tokens of each rollout and its advantage; every token is drawn with -1 nat."""
    prompt = asked(row_id, "real", ThinkingMode.THINK, f"About {row_id}?", "Real?")
    return ScoredGroup(
        group=RolloutGroup(
            prompt,
            tuple(Rollout(tuple(ids), (-1.0,) * len(ids), "", False, 0) for ids, _ in rollouts),
        ),
        terms={},
        rewards=tuple(advantage for _, advantage in rollouts),
        correct=tuple(advantage > 0 for _, advantage in rollouts),
        advantages=tuple(advantage for _, advantage in rollouts),
    )


GROUPS = [
    group("train-real0-0", ([11, 12, 13], 1.5), ([14], -0.5), ([15, 16], -1.0)),
    group("train-fake0-0", ([21], -2.0), ([22, 23, 24, 25], 2.0)),
    group("train-real1-0", ([31, 32], 0.25), ([33], -0.25)),
]
NUM_TOKENS = 14
OFF = {12: math.log(1.5), 23: math.log(3), 24: -math.log(2), 33: -math.log(10)}
"""How much likelier the learner finds a token than the sampler did, in nats."""
CAP = 2.0
BY_HAND = {
    token: -advantage * min(math.exp(OFF.get(token, 0)), CAP) / NUM_TOKENS
    for one in GROUPS
    for rollout, advantage in zip(one.group.rollouts, one.advantages, strict=True)
    for token in rollout.token_ids
}


def update(
    played_orders: Orders,
    groups: Sequence[ScoredGroup],
    world_size: int,
    micro_batch: int,
    reference: PlayedLearner | None = None,
    **method: Any,
) -> tuple[list[PlayedLearner], list[dict[str, float]]]:
    """Let all ranks learn from the groups together; return them and what each says."""
    job = played_orders(
        rl={"steps": 1, "importanceWeightCap": CAP, **method},
        rewards=[{"type": "Accuracy"}],
        placement={"precision": "Float32", "microBatch": micro_batch, "learners": world_size},
    )
    rl = job.stage.spec.rl
    assert rl is not None
    ranks = PlayedRanks(world_size)
    learners = [
        PlayedLearner(ranks, rank, lambda token: -1 + OFF.get(token, 0), lambda token: token / 10)
        for rank in range(world_size)
    ]

    def run(rank: int) -> dict[str, float]:
        parts = replace(played_parts(job, learners[rank]), reference=reference)
        return learn(parts, rl, groups)

    metrics = ranks.run(run)
    return learners, metrics


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8])
def test_each_token_pulls_alike_however_the_batch_is_spread(
    played_orders: Orders, world_size: int, micro_batch: int
) -> None:
    learners, metrics = update(played_orders, GROUPS, world_size, micro_batch)
    found: dict[int, float] = {}
    for learner in learners:
        (learned,) = learner.updates
        for one in learned:
            assert len(one.completions) <= micro_batch
            for ids, gradient in zip(one.completions, one.gradients, strict=True):
                if any(gradient):
                    assert found.keys().isdisjoint(ids), "each completion is learned from once"
                    found |= dict(zip(ids, gradient, strict=True))
    assert found == pytest.approx(BY_HAND, rel=1e-5)
    loss = sum(BY_HAND.values())
    for one in metrics:
        assert one["loss"] == pytest.approx(loss, rel=1e-5)
        assert one["tokens/learned"] == NUM_TOKENS


def test_groups_are_dealt_to_the_ranks_in_turn(played_orders: Orders) -> None:
    learners, _ = update(played_orders, GROUPS, 2, 8)
    (first,), (second,) = (learner.updates[0] for learner in learners)
    assert first.completions == [[11, 12, 13], [14], [15, 16], [31, 32], [33]]
    assert second.completions == [[21], [22, 23, 24, 25]]


def test_a_rank_with_less_to_do_repeats_what_weighs_nothing(played_orders: Orders) -> None:
    learners, metrics = update(played_orders, GROUPS, 4, 2)
    learned = [learner.updates[0] for learner in learners]
    assert [len(micro_batches) for micro_batches in learned] == [2, 2, 2, 2]
    idle = [learned[1][1], learned[2][1], *learned[3]]
    for one in idle:
        assert one.completions == [[11, 12, 13]]
        assert one.gradients == [[0, 0, 0]] and one.loss == 0
    # They count nowhere: not among tokens, entropies or differences.
    alone = update(played_orders, GROUPS, 1, 8)[1]
    assert metrics == [pytest.approx(alone[0], rel=1e-6)] * 4


def test_what_is_seen_is_summed_over_the_tokens_of_all_ranks(played_orders: Orders) -> None:
    metrics = update(played_orders, GROUPS, 2, 2)[1]
    off = list(OFF.values())
    by_hand = {
        "grad_norm": 7.0,
        "updates": 1.0,
        "learning_rate": 0.001,
        "loss": sum(BY_HAND.values()),
        "entropy/mean_nats": sum(BY_HAND) / 10 / NUM_TOKENS,
        "logprob/max_difference": math.log(10),
        "logprob/mean_difference": sum(map(abs, off)) / NUM_TOKENS,
        "logprob/kl": sum(math.exp(d) - 1 - d for d in off) / NUM_TOKENS,
        "logprob/far_tokens": 4 / NUM_TOKENS,
        "tokens/learned": NUM_TOKENS,
    }
    assert metrics == [pytest.approx(by_hand, rel=1e-5)] * 2


def test_a_completion_keeps_its_prompt_and_its_padding_does_not_count(
    played_orders: Orders,
) -> None:
    learners, _ = update(played_orders, GROUPS, 1, 3)
    batch = learners[0].updates[0][1].batch  # [21], [22, 23, 24, 25] and [31, 32].
    prompts = ["About train-fake0-0?"] * 2 + ["About train-real1-0?"]
    for row, (prompt, length) in enumerate(zip(prompts, (1, 4, 2), strict=True)):
        ids = batch.input_ids[row, : len(prompt) + length].tolist()
        assert "".join(map(chr, ids[: len(prompt)])) == prompt
        assert ids[len(prompt) :] == batch.completion_ids[row, :length].tolist()
        # The token before it predicts each.
        predictors = range(len(prompt) - 1, len(prompt) - 1 + length)
        assert batch.predictor[row, :length].tolist() == list(predictors)
    assert batch.completion_mask.sum(-1).tolist() == [1, 4, 2]
    assert batch.visual_of_row == (0, 0, 1)


def test_only_the_leading_rank_warns_where_sampler_and_learner_disagree(
    played_orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        update(played_orders, GROUPS, 3, 2)
    assert caplog.text.count("sampler and learner disagree: logprob/mean_difference is 0.") == 1


def test_each_token_is_learned_with_its_own_advantage(played_orders: Orders) -> None:
    given = ((0.5, -0.5, 0.0), (-1.0,), (3.0, -3.0))
    one = replace(GROUPS[0], by_token=given)
    learners, _ = update(played_orders, [one], 1, 8)
    (learned,) = learners[0].updates[0]
    weights = {12: 1.5}
    for ids, gradient, advantages in zip(
        learned.completions, learned.gradients, given, strict=True
    ):
        expected = [
            -advantage * weights.get(token, 1.0) / 6
            for token, advantage in zip(ids, advantages, strict=True)
        ]
        assert gradient == pytest.approx(expected, rel=1e-5)


def test_a_batch_is_learned_from_in_as_many_updates_as_are_asked_for(
    played_orders: Orders,
) -> None:
    learners, (metrics,) = update(played_orders, GROUPS, 1, 8, updatesPerBatch=2)
    first, second = learners[0].updates
    assert first[0].completions == [[11, 12, 13], [14], [15, 16]]
    assert second[0].completions == [[21], [22, 23, 24, 25], [31, 32], [33]]
    # The log-probabilities before the first update were asked for, of all that is learned from.
    assert sum(len(batch.completion_ids) for batch in learners[0].scored) == 7
    assert metrics["updates"] == 2 and metrics["loss/clip_fraction"] == 0
    # Each update is divided by its own tokens.
    assert first[0].gradients[1] == pytest.approx([0.5 / 6])
    assert second[0].gradients[0] == pytest.approx([2.0 / 8])


def test_there_are_no_more_updates_than_groups_to_learn_from(played_orders: Orders) -> None:
    tie = group("train-fake1-0", ([41], 0.0), ([42], 0.0))
    learners, (metrics,) = update(played_orders, [tie, *GROUPS, tie], 1, 8, updatesPerBatch=5)
    assert metrics["updates"] == 3
    assert [len(part[0].completions) for part in learners[0].updates] == [3, 2, 2]
    # A tie counts where the loss is divided: with the first group, and with the last.
    divided = [6 + 2, 5, 3 + 2]
    for part, num_tokens, advantage in zip(
        learners[0].updates, divided, (-0.5, -2.0, -0.25), strict=True
    ):
        place = 1 if advantage != -2.0 else 0
        weight = 0.1 if advantage == -0.25 else 1.0
        assert part[0].gradients[place][0] == pytest.approx(-advantage * weight / num_tokens)


@pytest.mark.parametrize(
    ("loss", "pull"), [("Dapo", 0.1 / 14), ("Grpo", 0.1 / (7 * 1)), ("DrGrpo", 0.1 / (7 * 40))]
)
def test_the_divergence_is_averaged_as_the_loss_is(
    played_orders: Orders, loss: str, pull: float
) -> None:
    far = PlayedLearner(logprob=lambda token: -3.0)
    changes = {"loss": {"type": loss}, "maxCompletionTokens": 40}
    with_kl = {"loss": {"type": loss, "kl": {"coefficient": 0.1, "estimator": "K1"}}}
    learners, _ = update(played_orders, GROUPS, 1, 8, **changes)
    closer, (metrics,) = update(played_orders, GROUPS, 1, 8, far, **changes | with_kl)
    # The completion of one token, 14, whose log-probability is -1.
    (before,), (after,) = learners[0].updates[0], closer[0].updates[0]
    assert after.gradients[1][0] - before.gradients[1][0] == pytest.approx(pull, rel=1e-5)
    assert metrics["kl/reference"] == pytest.approx((14 * 2 + sum(OFF.values())) / 14, rel=1e-5)


def test_a_row_that_keeps_ranks_in_step_does_not_diverge(played_orders: Orders) -> None:
    far = PlayedLearner(logprob=lambda token: -3.0)
    kl = {"loss": {"kl": {"coefficient": 0.1}, "entropyBonus": 0.1}}
    learners, _ = update(played_orders, GROUPS, 4, 8, far, **kl)
    (idle,) = learners[3].updates[0]
    assert idle.loss == 0 and idle.gradients == [[0, 0, 0]]


def test_entropy_lowers_the_loss(played_orders: Orders) -> None:
    _, (without,) = update(played_orders, GROUPS, 1, 8)
    _, (metrics,) = update(played_orders, GROUPS, 1, 8, loss={"entropyBonus": 0.5})
    assert without["loss"] - metrics["loss"] == pytest.approx(0.5 * metrics["entropy/mean_nats"])
