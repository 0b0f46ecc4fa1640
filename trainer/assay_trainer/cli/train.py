"""`assay train`: the container's entry point for one training stage."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_api import InvalidInput
from assay_trainer.cli.ending import attempt
from assay_trainer.cli.log_format import LogFormatOption, choose_log_format

if TYPE_CHECKING:
    from assay_api import ResolvedStageJob
    from assay_trainer.process import ProcessName


def train_command(
    stage: Annotated[Path, typer.Option(help="Orders of one attempt, as the operator wrote them.")],
    collect_only: Annotated[
        bool, typer.Option(help="Fusion: only sample what is learnt from, where Ray runs.")
    ] = False,
    log_format: LogFormatOption = None,
) -> None:
    """Run one attempt of a training stage in this process, as its rank if there are several.

    Raises:
        InvalidInput: the file holds no orders, or none of a stage that collects samples; a GPU is
            wanted and cannot be used.
    """
    from pydantic import ValidationError

    from assay_api import ResolvedStageJob
    from assay_trainer.device import require_device
    from assay_trainer.process import set_up_process

    choose_log_format(log_format)
    try:
        job = ResolvedStageJob.model_validate_json(stage.read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInput(
            f"--stage {stage}: no orders of a training stage: {error}; `assay run` writes them"
        ) from error
    process = _process(job, collect_only=collect_only)
    set_up_process(process)
    if process.process == "learner":
        require_device(job.stage.spec.placement.precision)
    if collect_only:
        if job.stage.spec.fusion is None:
            raise InvalidInput(
                f"--collect-only: the stage of {stage} has no spec.fusion, nothing to collect"
            )
        from assay_trainer.loops.fusion import collect
        from assay_trainer.models.pinning import pinned_job

        with attempt():
            collect(pinned_job(job))
        return
    from assay_trainer.loops.stage_job import run_stage_job

    with attempt():
        run_stage_job(job)


def _process(job: "ResolvedStageJob", *, collect_only: bool) -> "ProcessName":
    """Return the name of this process: on a Ray cluster learners are others, which it starts."""
    from assay_trainer.process import ProcessName

    name, ranks = job.stage.metadata.name, {"RANK": 0, "WORLD_SIZE": 1}
    rank, world_size = (int(os.environ.get(variable, ranks[variable])) for variable in ranks)
    drives = collect_only or (job.stage.spec.rl is not None and "RAY_ADDRESS" in os.environ)
    process = "driver" if drives else "learner"
    return ProcessName("stage", name, process, job.attempt, rank, world_size)
