"""Tells a tracker a stage's numbers, in a thread of its own: training never waits for it.

The metrics files are what counts. A tracker that fails is told of in the log and tried again with
what it has missed; at the end the log says what it did not take. A stage that goes on asks the
tracker which step it has last, and tells it the following ones from the files, so that none comes
twice. Without a server the tracker's files are written anew from the metrics files then: what a
kill has left of them is not to be trusted.
"""

import importlib
import json
import logging
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from assay_api import ResolvedStageJob
from assay_api.digest import stage_identity, stage_job_digest
from assay_api.tracking import Tracker, TrackerType
from assay_data.store import Store
from assay_trainer.metrics_log import read_metrics
from assay_trainer.tracking.run import RunPlan, TrackerRun

_LOG = logging.getLogger(__name__)

FOLDER = "tracking"
"""Folder of the trackers within the stage's folder."""
_RUNS = {
    TrackerType.WANDB: ("assay_trainer.tracking.wandb_run", "WandbRun"),
    TrackerType.MLFLOW: ("assay_trainer.tracking.mlflow_run", "MlflowRun"),
    TrackerType.TRACKIO: ("assay_trainer.tracking.trackio_run", "TrackioRun"),
}
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 10.0, 600.0
_END_SECONDS = 60.0
"""How long the end of a stage waits for a tracker."""

_Numbers = tuple[int, Mapping[str, float]]


class Sender:
    """One tracker of a running stage."""

    def __init__(self, tracker: Tracker, open_run: Callable[[], TrackerRun], store: Store) -> None:
        """Start the thread; the tracker's library is loaded there."""
        self._what = f"tracker {tracker.type.value}" + (f" at {tracker.url}" if tracker.url else "")
        self._open, self._store = open_run, store
        self._folder = None if tracker.url else folder_of(tracker)
        self._waiting: deque[_Numbers] = deque()
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=self._what, daemon=True)
        self._thread.start()

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Have the numbers of a step told; they are in the metrics files already."""
        with self._wake:
            self._waiting.append((step, dict(metrics)))
            self._wake.notify()

    def close(self) -> None:
        """Let what is left arrive, within a minute; the log tells what did not."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(_END_SECONDS)
        if self._waiting or self._thread.is_alive():
            _LOG.warning(
                "%s was not told everything: number of steps missing there: %d; the files in "
                "metrics/ have them all",
                *(self._what, len(self._waiting)),
            )

    def _work(self) -> None:
        run: TrackerRun | None = None
        pause_seconds, not_before = _FIRST_PAUSE_SECONDS, 0.0
        while self._await(not_before):
            try:
                if run is None:
                    run = self._open()
                    self._catch_up(run)
                self._send(run)
                pause_seconds = _FIRST_PAUSE_SECONDS
            except Exception as error:  # whatever a tracker's library does, training goes on
                _LOG.warning(
                    "%s failed: %s: %s; training goes on, and what it misses is told later",
                    *(self._what, type(error).__name__, error),
                )
                run, not_before = None, time.monotonic() + pause_seconds
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
                if self._closing:
                    return
        if run is not None:
            self._end(run)

    def _await(self, not_before: float) -> bool:
        """Return once there is something to tell; False: there is nothing more to come."""
        with self._wake:
            while True:
                left = not_before - time.monotonic()
                if self._waiting and (left <= 0 or self._closing):
                    return True
                if self._closing:
                    return False
                self._wake.wait(left if self._waiting else None)

    def _catch_up(self, run: TrackerRun) -> None:
        """Tell what the files have of the steps before the one that waits."""
        first, _ = self._waiting[0]
        for step, numbers in read_metrics(self._store).items():
            if run.last_step < step < first:
                run.log(step, {name: v for name, v in numbers.items() if name != "step"})
                run.last_step = step

    def _send(self, run: TrackerRun) -> None:
        while self._waiting:
            step, numbers = self._waiting[0]
            if step > run.last_step:
                run.log(step, numbers)
                run.last_step = step
            self._waiting.popleft()
        self._keep()

    def _end(self, run: TrackerRun) -> None:
        try:
            run.close()
            self._keep()
        except Exception as error:
            _LOG.warning("%s failed at its end: %s: %s", self._what, type(error).__name__, error)

    def _keep(self) -> None:
        """Have the tracker's own files in the store, where that is no folder of this machine."""
        if self._folder is None or self._store.on_this_machine:
            return
        root = self._store.path(self._folder)
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                self._store.keep(f"{self._folder}/{path.relative_to(root).as_posix()}")


def start_senders(job: ResolvedStageJob, store: Store, dataset_digest: str) -> list[Sender]:
    """Start telling the stage's trackers."""
    identity = stage_job_digest(job, dataset_digest)
    return [_start(job, store, identity, tracker) for tracker in job.stage.spec.tracking]


def folder_of(tracker: Tracker) -> str:
    """Return the folder of a tracker that has no server, within the stage's folder."""
    return f"{FOLDER}/{tracker.type.value.lower()}"


def _start(job: ResolvedStageJob, store: Store, identity: str, tracker: Tracker) -> Sender:
    def open_run() -> TrackerRun:
        folder = store.path(folder_of(tracker))
        if tracker.url is None:
            store.delete(folder_of(tracker))
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        plan = RunPlan(
            tracker,
            job.stage.metadata.name,
            _run_id(store, tracker, identity),
            _config(job),
            folder,
        )
        module, name = _RUNS[tracker.type]
        found: TrackerRun = getattr(importlib.import_module(module), name)(plan)
        return found

    return Sender(tracker, open_run, store)


def _run_id(store: Store, tracker: Tracker, identity: str) -> str:
    """Return the run of this stage in this store; another one once it trains something else."""
    key = f"{FOLDER}/{tracker.type.value.lower()}.json"
    if store.exists(key):
        known: dict[str, str] = json.loads(store.read(key))
        if known["identity"] == identity:
            return known["run"]
    run = uuid.uuid4().hex[:16]
    store.write(key, json.dumps({"identity": identity, "run": run}).encode())
    return run


def _config(job: ResolvedStageJob) -> dict[str, Any]:
    """Return what is trained from what; nothing of where it runs, which may be nobody's concern."""
    digest = job.model.digest if job.model else None
    return {**stage_identity(job.stage.spec), "modelDigest": digest, "attempt": job.attempt}
