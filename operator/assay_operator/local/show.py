"""Shows a run to people: one line for each thing that happens, and how far the live ones are."""

import shutil
import time
from collections.abc import Mapping
from typing import TextIO

from assay_api import Completion
from assay_api.layout import ResourceId
from assay_operator.decision import Decision, Workload
from assay_operator.local.store import LocalStore
from assay_operator.observed import Attempt, Observed
from assay_operator.policies.attempts import describe_exit
from assay_operator.records import Progress, log_tail

WORDS = {
    "Dataset": "dataset",
    "TrainingStage": "stage",
    "Evaluation": "evaluation",
    "RewardModel": "reward model",
    "TrainingPipeline": "pipeline",
}
"""What people call each kind."""

_LINE_EVERY_SECONDS = 5.0
_LOG_LINES_ON_FAILURE = 15


def label(resource: ResourceId) -> str:
    """Return the resource as people call it, e.g. `stage foundation`."""
    return f"{WORDS[resource.kind]} {resource.name}"


def numbers_text(numbers: Mapping[str, float | int | str]) -> str:
    """Return named numbers on one line; `/mean` goes without saying.

    Example:
        >>> numbers_text({"reward/mean": 0.3126, "accuracy/held_out_think": 0.75, "rows": 480})
        'reward 0.313  accuracy held out think 0.75  rows 480'
    """
    return "  ".join(
        f"{name.removesuffix('/mean').replace('/', ' ').replace('_', ' ')} {_short(value)}"
        for name, value in numbers.items()
    )


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def progress_text(resource: ResourceId, progress: Progress | None, seconds: float) -> str:
    """Return how far a live workload is.

    Example:
        >>> id_ = ResourceId("TrainingStage", "foundation")
        >>> progress_text(id_, Progress(12, 40, "sampling", {"reward/mean": 0.31}), 62.4)
        'stage foundation  12/40  sampling  reward 0.31  (62 s)'
    """
    parts = [label(resource)]
    if progress:
        parts.append(f"{progress.step}/{progress.total}")
        parts.extend(part for part in (progress.doing, numbers_text(progress.metrics)) if part)
    return "  ".join([*parts, f"({seconds:.0f} s)"])


class Lines:
    """Reports a run as lines of text; on a terminal the last ones update in place."""

    def __init__(self, store: LocalStore, out: TextIO) -> None:
        """Take the store, for the logs of what fails, and where to write."""
        self._store = store
        self._out = out
        self._is_terminal = out.isatty()
        self._told: set[tuple[ResourceId, str, str]] = set()
        self._live_lines = 0
        self._last_text = ""
        self._last_seconds = 0.0

    def decided(self, resource: ResourceId, decision: Decision) -> None:
        """Tell the decision's events, each once."""
        for event in decision.events:
            key = (resource, event.reason, event.message)
            if key not in self._told:
                self._told.add(key)
                self._line(f"{label(resource)}  {event.reason}: {event.message}")

    def started(self, workload: Workload) -> None:
        """Tell that a workload was started."""
        again = f" (attempt {workload.attempt})" if workload.attempt > 1 else ""
        self._line(f"{label(workload.owner)}  starts{again}")

    def ended(self, resource: ResourceId, attempt: Attempt, completion: Completion | None) -> None:
        """Tell how an attempt ended; of a failed one, show the end of its log."""
        assert attempt.ended_seconds is not None
        took = f"({attempt.ended_seconds - attempt.started_seconds:.0f} s)"
        if completion:
            numbers = numbers_text(completion.summary)
            self._line("  ".join(part for part in (label(resource), "done", numbers, took) if part))
        elif attempt.stopped:
            self._line(f"{label(resource)}  stopped  {took}")
        else:
            self._line(f"{label(resource)}  {describe_exit(attempt.exit_code)}  {took}")
            self._show_log(resource, attempt)

    def progress(self, observed: Observed, progress: Mapping[ResourceId, Progress]) -> None:
        """Tell how far the live workloads are: at once on a terminal, else every 5 s if changed."""
        lines = [
            progress_text(
                resource, progress.get(resource), observed.now_seconds - live.started_seconds
            )
            for resource in observed.resources
            if (live := observed.live_attempt(resource)) and live.url is None
        ]
        if self._is_terminal:
            self._redraw(lines)
            return
        text = "\n".join(f"{resource}{found}" for resource, found in progress.items())
        due = time.monotonic() - self._last_seconds > _LINE_EVERY_SECONDS
        if due and text != self._last_text:
            self._last_text, self._last_seconds = text, time.monotonic()
            for line in lines:
                self._line(line)

    def close(self) -> None:
        """Remove the lines that update in place."""
        self._redraw([])

    def _show_log(self, resource: ResourceId, attempt: Attempt) -> None:
        lines = log_tail(self._store, resource, attempt.number, _LOG_LINES_ON_FAILURE)
        for line in lines:
            self._line(f"    {line}")
        self._line(f"  whole log: {self._store.path(resource.log_key(attempt.number))}")

    def _line(self, text: str) -> None:
        self._redraw([])
        print(text, file=self._out, flush=True)

    def _redraw(self, lines: list[str]) -> None:
        if self._live_lines:
            self._out.write(f"\x1b[{self._live_lines}F\x1b[J")
        width = shutil.get_terminal_size().columns - 1
        for line in lines:
            self._out.write(line[:width] + "\n")
        self._live_lines = len(lines)
        self._out.flush()
