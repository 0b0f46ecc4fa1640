"""`assay train`: the container's entry point for one training stage."""

from pathlib import Path
from typing import Annotated

import typer

from assay_api import InvalidInput


def train_command(
    stage: Annotated[Path, typer.Option(help="Orders of one attempt, as the operator wrote them.")],
) -> None:
    """Run one attempt of a training stage in this process, as its rank if there are several.

    Raises:
        InvalidInput: the file holds no orders.
    """
    from pydantic import ValidationError

    from assay_api import ResolvedStageJob

    try:
        job = ResolvedStageJob.model_validate_json(stage.read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInput(
            f"--stage {stage}: no orders of a training stage: {error}; `assay run` writes them"
        ) from error
    from assay_trainer.loops.stage_job import run_stage_job

    run_stage_job(job)
