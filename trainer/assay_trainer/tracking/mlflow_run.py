"""MLflow. The only module that imports mlflow."""

import os
import time
from collections.abc import Mapping

# Read when it is imported, or at each request: offline needs the file store, nothing is told to
# MLflow's makers, and a server that is away is not waited for.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from assay_trainer.tracking.run import RunPlan

_ID_TAG = "assay.run"
_STEP = "step"
"""Metric that every step has, and that is written last."""


class MlflowRun:
    """A run of MLflow; offline it is a file store, which `mlflow ui` shows."""

    def __init__(self, plan: RunPlan) -> None:
        """Open the run, or go on with it."""
        tracker = plan.tracker
        if not tracker.url:
            # The library expects it, and makes it only in a folder that it makes itself.
            (plan.folder / ".trash").mkdir()
        self._client = MlflowClient(tracking_uri=tracker.url or plan.folder.absolute().as_uri())
        experiment = self._experiment(tracker.project)
        found = self._client.search_runs([experiment], f"tags.`{_ID_TAG}` = '{plan.run_id}'")
        run = found[0] if found else self._create(experiment, plan)
        self._id = run.info.run_id
        if found:
            self._client.update_run(self._id, status="RUNNING")
        told = self._client.get_metric_history(self._id, _STEP) if found else []
        self.last_step = max((metric.step for metric in told), default=-1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the numbers of one step."""
        now = int(time.time() * 1000)
        numbers = {**metrics, _STEP: float(step)}
        self._client.log_batch(
            self._id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()]
        )

    def close(self) -> None:
        """Mark the run as over."""
        self._client.set_terminated(self._id)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _create(self, experiment: str, plan: RunPlan):  # type: ignore[no-untyped-def]
        run = self._client.create_run(experiment, run_name=plan.stage, tags={_ID_TAG: plan.run_id})
        params = [Param(name, str(value)[:500]) for name, value in plan.config.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return run
