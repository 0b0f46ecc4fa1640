"""One learner process of two: the first speaks late, and never comes to the gradients."""

import sys
import time
from pathlib import Path

from assay_api import ResolvedStageJob, ThinkingMode
from assay_trainer import deadlines
from assay_trainer.chat import detection_prompt
from assay_trainer.families.batch import Completion
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.parts import StageParts

deadlines.COLLECTIVE_SECONDS = 10.0
LATE_SECONDS = 15.0


def update(parts: StageParts) -> None:
    text, _ = detection_prompt(parts.stage.spec.prompt, ThinkingMode.THINK)
    encoded = parts.encode(text, parts.dataset.rows()[0].row_id)
    (batch,) = parts.micro_batches([Completion(encoded, (1, 2, 3))])
    parts.learner.update([(batch, lambda out: out.logprobs.sum())])


def main(orders: Path, folder: Path) -> None:
    job = ResolvedStageJob.model_validate_json(orders.read_text())
    parts = build_parts(job, temperature=1.0)
    learner, gave_up = parts.learner, folder / "gave-up"
    update(parts)
    for speak in (learner.broadcast, learner.gather, lambda word: learner.barrier()):
        if learner.rank == 0:
            time.sleep(LATE_SECONDS)
        speak(f"rank {learner.rank}")
    if learner.rank == 1:
        started = time.monotonic()
        try:
            update(parts)
        except RuntimeError as error:
            gave_up.write_text(f"{time.monotonic() - started:.1f} {error}")
    deadline = time.monotonic() + 60
    while not gave_up.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


main(Path(sys.argv[1]), Path(sys.argv[2]))
