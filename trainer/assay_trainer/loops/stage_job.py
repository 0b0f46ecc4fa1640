"""One attempt of a training stage, from its orders to its completion."""

import logging
import os

from assay_api import Completion, ResolvedStageJob
from assay_api.digest import stage_job_digest
from assay_data.store import Store, open_store
from assay_trainer.metrics_log import read_metrics
from assay_trainer.models.pinning import pinned_job
from assay_trainer.models.published import RESULT
from assay_trainer.tracking.required import check_packages

_LOG = logging.getLogger(__name__)

_SUMMARISED = {
    "accuracy/held_out_think": "accuracy_think",
    "accuracy/held_out_no_think": "accuracy_no_think",
    "mode/obeyed_think": "obeyed_think",
    "mode/obeyed_no_think": "obeyed_no_think",
    "judge/held_out_mean": "judge",
    "loss": "loss",
}
"""Metrics that show what a stage changed, and their names in the summary."""


def run_stage_job(job: ResolvedStageJob) -> None:
    """Train, publish the model, and write the completion as the very last thing.

    One that is asked to stop saves a checkpoint and returns without either: it is not finished.

    Raises:
        InvalidInput: model, dataset, task or trackers are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    check_packages(job.stage.spec.tracking)
    job = pinned_job(job)
    if job.stage.spec.rl is not None:
        from assay_trainer.loops.rl_job import run_rl

        finished = run_rl(job)
    else:
        from assay_trainer.loops.sft_job import run_supervised

        finished = run_supervised(job)
    if finished and int(os.environ.get("RANK", "0")) == 0:
        _complete(job, open_store(job.output))


def _complete(job: ResolvedStageJob, store: Store) -> None:
    # By the manifest alone: a Ray head that only writes this has no copy of the dataset.
    dataset = open_store(job.dataset).digest("")
    completion = Completion(
        spec_digest=stage_job_digest(job, dataset),
        digest=store.digest(RESULT),
        result=RESULT,
        summary=_summary(read_metrics(store)),
    )
    store.write("completion.json", completion.model_dump_json(by_alias=True, indent=1).encode())
    _LOG.info("complete: %s", ", ".join(f"{k} {v}" for k, v in completion.summary.items()))


def _summary(metrics: dict[int, dict[str, float]]) -> dict[str, float | int | str]:
    """Return the numbers that show what the stage changed: first and last of each."""
    summary: dict[str, float | int | str] = {"steps": max(metrics, default=0)}
    for metric, name in _SUMMARISED.items():
        values = [record[metric] for _, record in sorted(metrics.items()) if metric in record]
        if values:
            summary[name] = f"{values[0]:.2f} -> {values[-1]:.2f}"
    summary["training_seconds"] = round(
        sum(record.get("time/step_seconds", 0.0) for record in metrics.values())
    )
    return summary
