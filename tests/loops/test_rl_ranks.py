"""An RL stage of two learner processes: one asks, scores and records; both learn the same batch."""

from collections.abc import Callable

from played_engines import PlayedLearner, PlayedPool, PlayedRanks, played_parts
from played_stage import GroupsInTurn, right, wrong

from assay_api import ResolvedStageJob
from assay_trainer.loops.rl_setup import rl_loop
from assay_trainer.metrics_log import read_metrics


def test_both_learn_their_share_of_what_the_leading_one_has_sampled(
    played_orders: Callable[..., ResolvedStageJob],
) -> None:
    job = played_orders(
        rl={"steps": 2, "promptsPerStep": 2, "groupSize": 2},
        rewards=[{"type": "Accuracy"}],
        placement={"precision": "Float32", "learners": 2},
    )
    ranks = PlayedRanks(2)
    learners = [PlayedLearner(ranks, rank) for rank in range(2)]
    groups = [[right(n, n + 1), wrong(n + 2)] for n in (10, 20, 30, 40)]
    pool = PlayedPool(GroupsInTurn(*groups))

    def one(rank: int) -> bool:
        parts = played_parts(job, learners[rank])
        return rl_loop(parts, pool if rank == 0 else None, {}).run()

    assert ranks.run(one) == [True, True]
    learned = [
        [micro_batch.completions for update in learner.updates for micro_batch in update]
        for learner in learners
    ]
    assert learned[0] == [[[10, 11], [12]], [[30, 31], [32]]]
    assert learned[1] == [[[20, 21], [22]], [[40, 41], [42]]]
    # Six tokens in the batch of both; two rollouts stand at plus and minus 1 / sqrt(2).
    share = 0.5**0.5 / 6
    for learner in learners:
        for update in learner.updates:
            for gradients in (micro_batch.gradients for micro_batch in update):
                flat = [value for row in gradients for value in row]
                assert all(abs(abs(value) - share) < 1e-6 for value in flat)
    assert [version for _, version in pool.loaded] == [0, 1, 2]
    metrics = read_metrics(played_parts(job).store)
    assert sorted(metrics) == [0, 1, 2]
    assert metrics[2]["tokens/learned"] == 6
