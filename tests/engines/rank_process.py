"""One learner process of several: takes steps on given rollouts, resuming after the first."""

import json
import sys
from pathlib import Path

from assay_api import ResolvedStageJob, ThinkingMode
from assay_trainer.checkpoints import Position
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.policy_update import learn
from assay_trainer.loops.prompts import prompt_item
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup


def group(parts: StageParts, number: int, lengths: tuple[int, ...]) -> ScoredGroup:
    row = parts.dataset.rows()[number]
    prompt = prompt_item(row, parts.stage.spec.prompt, ThinkingMode.THINK)
    rollouts = tuple(
        Rollout(
            token_ids=tuple((17 * number + 5 * k + 3 * place) % 250 for place in range(length)),
            sampler_logprobs=(-5.5,) * length,
            text="",
            truncated=False,
            policy_version=0,
        )
        for k, length in enumerate(lengths)
    )
    return ScoredGroup(
        group=RolloutGroup(prompt, rollouts),
        terms={},
        rewards=tuple(float(k) for k in range(len(lengths))),
        correct=tuple(k > 0 for k in range(len(lengths))),
        advantages=tuple(k - 0.7 for k in range(len(lengths))),
    )


def main(orders: Path) -> None:
    job = ResolvedStageJob.model_validate_json(orders.read_text())
    rl = job.stage.spec.rl
    assert rl is not None
    parts = build_parts(job, temperature=1.0)
    batches = [
        [group(parts, 0, (3, 9)), group(parts, 1, (4,)), group(parts, 2, (7, 2))],
        [group(parts, 3, (6, 5, 3))],
        [group(parts, 4, (8, 8)), group(parts, 5, (1, 4))],
    ]
    numbers = [learn(parts, rl, batches[0])]
    parts.checkpoints().save(Position(1, 1, 0))
    parts = build_parts(job, temperature=1.0)
    assert parts.checkpoints().resume() == Position(1, 1, 0)
    numbers += [learn(parts, rl, batch) for batch in batches[1:]]
    if parts.learner.rank == 0:
        folder = Path(job.output)
        parts.policy.save(folder / "weights")
        (folder / "numbers.json").write_text(json.dumps(numbers))


main(Path(sys.argv[1]))
