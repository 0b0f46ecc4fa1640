"""What every process of a workload does first: its log and its metrics say whose it is."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from assay_api.log_lines import FORMAT_VARIABLE, checked_format, set_up_logs
from assay_trainer.metrics_server import serve_metrics

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessName:
    """Whose process this is."""

    kind: str
    """`stage`, `evaluation` or `dataset`."""
    name: str
    """Name of the resource."""
    process: str
    """What it does, such as `learner` or `rollout`."""
    attempt: int | None = None
    """Attempt of a stage."""
    rank: int = 0
    """Its number among its like."""
    world_size: int = 1
    """How many of its like there are."""

    def __str__(self) -> str:
        """Return the name for people: `foundation-a1 learner 0`."""
        attempt = f"-a{self.attempt}" if self.attempt is not None else ""
        if self.process == self.kind:
            return f"{self.kind} {self.name}{attempt}"
        rank = f" {self.rank}" if self.world_size > 1 else ""
        return f"{self.name}{attempt} {self.process}{rank}"

    @property
    def context(self) -> Mapping[str, str | int]:
        """What a line of JSON says of it."""
        attempt = {"attempt": self.attempt} if self.attempt is not None else {}
        return {self.kind: self.name, **attempt, "process": self.process, "rank": self.rank}

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of its metrics."""
        attempt = {"attempt": str(self.attempt)} if self.attempt is not None else {}
        return {self.kind: self.name, **attempt, "process": self.process}


def set_up_process(name: ProcessName) -> None:
    """Send this process's log to standard error and, in a pod, serve its metrics.

    Raises:
        InvalidInput: ASSAY_LOG_FORMAT is no format.
    """
    form = checked_format(os.environ.get(FORMAT_VARIABLE) or "text", FORMAT_VARIABLE)
    set_up_logs(form, who=str(name), context=name.context)
    if not sys.warnoptions:
        # Libraries about their own code and each other's: nothing that a reader of the log can do.
        warnings.simplefilter("ignore")
    # vLLM's warnings, too, are about what it chose for itself.
    logging.getLogger("vllm").setLevel(logging.ERROR)
    if form == "json":
        sys.excepthook = _tell
    serve_metrics(name.labels)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _LOG.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))
