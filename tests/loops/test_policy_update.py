"""One update with played ranks: what each learns from, whatever the ranks and micro-batches are."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

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
    **rl_fields: object,
) -> tuple[list[PlayedLearner], list[dict[str, float]]]:
    """Let all ranks learn from the groups together; return them and what each says."""
    job = played_orders(
        rl={"steps": 1, "importanceWeightCap": CAP, **rl_fields},
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
    metrics = ranks.run(lambda rank: learn(played_parts(job, learners[rank]), rl, groups))
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


NUM_COMPLETIONS = 7
DIVIDED_BY = {
    "Grpo": lambda length: NUM_COMPLETIONS * length,
    "DrGrpo": lambda length: NUM_COMPLETIONS * 20,
}


@pytest.mark.parametrize("loss", DIVIDED_BY)
@pytest.mark.parametrize("world_size", [1, 2])
def test_a_loss_weighs_tokens_as_its_type_says(
    played_orders: Orders, loss: str, world_size: int
) -> None:
    learners, _ = update(
        played_orders, GROUPS, world_size, 2, loss={"type": loss}, maxCompletionTokens=20
    )
    found = {
        token: pull
        for learner in learners
        for one in learner.updates[0]
        for ids, pulls in zip(one.completions, one.gradients, strict=True)
        if any(pulls)
        for token, pull in zip(ids, pulls, strict=True)
    }
    lengths = {
        token: len(rollout.token_ids)
        for one in GROUPS
        for rollout in one.group.rollouts
        for token in rollout.token_ids
    }
    expected = {
        token: pull * NUM_TOKENS / DIVIDED_BY[loss](lengths[token])
        for token, pull in BY_HAND.items()
    }
    assert found == pytest.approx(expected, rel=1e-5)


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
