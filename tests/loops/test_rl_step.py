"""One step of RL with played engines: every number of it is worked out by hand.

Two rounds of two prompts, three rollouts each. The second, third and fourth group have right and
wrong answers; the first two of them fill the batch.
"""

import math
from collections.abc import Callable

import pytest
from played_engines import PlayedLearner, PlayedPool
from played_stage import GroupsInTurn, Played, ill_formed, play_stage, right, wrong

from assay_api import ResolvedStageJob
from assay_trainer.rollout.sampler import SamplingPlan
from assay_trainer.rollout_log import read_rollouts

DRAWN = -1.0
"""Log-probability in nats with which every token is drawn."""
LEARNER = {21: DRAWN + math.log(1.25), 32: DRAWN + math.log(2), 33: DRAWN - math.log(4)}
"""Where the learner finds another one."""
ALL_RIGHT = [right(11), right(12), right(13)]
SECOND = [right(21, 22, 23), wrong(24), ill_formed(25, 26, truncated=True)]
THIRD = [ill_formed(31, 32), right(33, 34, 35, 36), wrong(37)]
SURPLUS = [right(41), right(42), wrong(43)]

# Rewards 2, 0 and -1: mean 1/3, variance (25 + 1 + 16) / 9 / 2.
STD = math.sqrt(21) / 3
RIGHT, WRONG, ILL_FORMED = (5 / 3) / STD, (-1 / 3) / STD, (-4 / 3) / STD
NUM_TOKENS = 6 + 7


@pytest.fixture(scope="module")
def played(played_orders: Callable[..., ResolvedStageJob]) -> Played:
    """Run one step."""
    job = played_orders(
        rl={
            "steps": 1,
            "promptsPerStep": 2,
            "groupSize": 3,
            "maxCompletionTokens": 20,
            "temperature": 0.7,
            "importanceWeightCap": 1.5,
        },
        rewards=[{"type": "Accuracy", "weight": 2}, {"type": "Format"}],
        placement={"precision": "Float32", "microBatch": 4},
    )
    script = GroupsInTurn(ALL_RIGHT, SECOND, THIRD, SURPLUS)
    learner = PlayedLearner(
        logprob=lambda token: LEARNER.get(token, DRAWN), entropy=lambda token: token / 100
    )
    return play_stage(job, PlayedPool(script), learner)


def test_a_second_round_is_asked_for_and_no_third(played: Played) -> None:
    # One of two is usable and one is missing: by that, two more are needed.
    assert played.finished
    assert [len(requests) for requests, _ in played.sampled] == [2, 2]


def test_every_prompt_is_asked_as_the_method_says(played: Played) -> None:
    plan = SamplingPlan(num_samples=3, max_tokens=20, temperature=0.7)
    assert [asked for _, asked in played.sampled] == [plan, plan]
    for requests, _ in played.sampled:
        for request in requests:
            assert request.text == (
                "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Real? /think"
                "<|im_end|>\n<|im_start|>assistant\n"
            )


def test_rows_are_learned_from_in_their_order_with_the_batch_cut_to_its_size(
    played: Played,
) -> None:
    first, second = played.learner.updates[0]
    assert first.completions == [[21, 22, 23], [24], [25, 26], [31, 32]]
    assert second.completions == [[33, 34, 35, 36], [37]]


def test_each_completion_follows_its_own_prompt_and_clip(played: Played) -> None:
    (_, second), (third, _) = (requests for requests, _ in played.sampled)
    for batch, clips in zip(
        (micro_batch.batch for micro_batch in played.learner.updates[0]),
        ((second, third), (third,)),
        strict=True,
    ):
        for visual, clip in zip(batch.visuals, clips, strict=True):
            frames = played.parts.dataset.frames(clip.row_id)
            assert visual.pixel_values.flatten().tolist() == frames.flatten().tolist()
    first, last = (micro_batch.batch for micro_batch in played.learner.updates[0])
    assert (first.visual_of_row, last.visual_of_row) == ((0, 0, 0, 1), (0, 0))


def test_gradients_are_advantage_times_capped_weight_over_all_tokens(played: Played) -> None:
    """The loss falls with the log-probability of what is better than its group."""
    expected = [
        [RIGHT * 1.25, RIGHT, RIGHT],
        [WRONG],
        [ILL_FORMED, ILL_FORMED],
        [ILL_FORMED, ILL_FORMED * 1.5],
        [RIGHT * 0.25, RIGHT, RIGHT, RIGHT],
        [WRONG],
    ]
    gradients = [row for micro_batch in played.learner.updates[0] for row in micro_batch.gradients]
    for found, by_hand in zip(gradients, expected, strict=True):
        assert found == pytest.approx([-value / NUM_TOKENS for value in by_hand], rel=1e-5)


def test_every_number_of_the_step_is_recorded(played: Played) -> None:
    gains = (3.25 + 3.25) * RIGHT + 2 * WRONG + (2 + 1 + 1.5) * ILL_FORMED
    learned = (21 + 22 + 23) + 24 + (25 + 26) + (31 + 32) + (33 + 34 + 35 + 36) + 37
    by_hand = {
        "sampling/acceptance": 3 / 4,
        "sampling/groups": 4.0,
        "sampling/rounds": 2.0,
        "sampling/learned_groups": 2.0,
        "sampling/failed_groups": 0.0,
        "sampling/empty_steps": 0.0,
        "judge/abstained_groups": 0.0,
        # Of all that was sampled: three right, then two times 2 - 1, then two right.
        "reward/mean": (6 + 1 + 1 + 4) / 12,
        "reward/accuracy": (6 + 2 + 2 + 4) / 12,
        "reward/format": -2 / 12,
        "accuracy/sampled": (3 + 1 + 1 + 2) / 12,
        "length/mean_tokens": (3 + 6 + 7 + 3) / 12,
        "length/truncated": 1 / 12,
        "loss": -gains / NUM_TOKENS,
        "grad_norm": 7.0,
        "updates": 1.0,
        "learning_rate": 0.001,
        "entropy/mean_nats": learned / 100 / NUM_TOKENS,
        "logprob/max_difference": math.log(4),
        "logprob/mean_difference": (math.log(1.25) + math.log(2) + math.log(4)) / NUM_TOKENS,
        # exp(d) - 1 - d of each.
        "logprob/kl": ((0.25 - math.log(1.25)) + (1 - math.log(2)) + (-0.75 + math.log(4)))
        / NUM_TOKENS,
        "logprob/far_tokens": 3 / NUM_TOKENS,
        "tokens/learned": float(NUM_TOKENS),
        "logprob/canary_difference": 0.0,
        "accuracy/held_out_think": 1.0,
        "well_formed/held_out_think": 1.0,
        "mode/obeyed_think": 1.0,
    }
    assert played.metrics(1) == pytest.approx(by_hand, rel=1e-5, abs=1e-12)


def test_what_was_learned_from_is_logged_rollout_by_rollout(played: Played) -> None:
    groups = read_rollouts(played.parts.store, 1)
    asked = [requests for requests, _ in played.sampled]
    assert [group.row_id for group in groups] == [asked[0][1].row_id, asked[1][0].row_id]
    for group in groups:
        fake = "fake" in group.row_id
        assert (group.label, group.generator) == (("fake",) * 2 if fake else ("real",) * 2)
        assert group.video_id == group.row_id.removesuffix("-0")
    second, third = ([rollout for rollout in group.rollouts] for group in groups)
    assert [r.reward for r in second + third] == [2, 0, -1, -1, 2, 0]
    assert [r.advantage for r in second] == pytest.approx([RIGHT, WRONG, ILL_FORMED])
    assert [r.advantage for r in third] == pytest.approx([ILL_FORMED, RIGHT, WRONG])
    assert [r.correct for r in second + third] == [True, False, False, False, True, False]
    assert [r.truncated for r in second + third] == [False, False, True, False, False, False]
    assert [r.num_tokens for r in second + third] == [3, 1, 2, 2, 4, 1]
    assert second[0].terms == {"Accuracy": 2.0, "Format": 0.0}
    assert third[0].terms == {"Accuracy": 0.0, "Format": -1.0}
    assert {r.policy_version for r in second + third} == {0}
