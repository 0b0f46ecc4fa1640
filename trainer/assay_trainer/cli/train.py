"""`assay train`: the container's entry point for one training stage."""

from pathlib import Path
from typing import Annotated

import typer

from assay_api import InvalidInput


def train_command(
    stage: Annotated[Path, typer.Option(help="Orders of one attempt, as the operator wrote them.")],
    collect_only: Annotated[
        bool, typer.Option(help="Fusion: only sample what is learnt from, where Ray runs.")
    ] = False,
) -> None:
    """Run one attempt of a training stage in this process, as its rank if there are several.

    Raises:
        InvalidInput: the file holds no orders, or none of a stage that collects samples.
    """
    from pydantic import ValidationError

    from assay_api import ResolvedStageJob

    try:
        job = ResolvedStageJob.model_validate_json(stage.read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInput(
            f"--stage {stage}: no orders of a training stage: {error}; `assay run` writes them"
        ) from error
    if collect_only:
        if job.stage.spec.fusion is None:
            raise InvalidInput(
                f"--collect-only: the stage of {stage} has no spec.fusion, nothing to collect"
            )
        from assay_trainer.loops.fusion import collect

        collect(job)
        return
    from assay_trainer.loops.stage_job import run_stage_job

    run_stage_job(job)
