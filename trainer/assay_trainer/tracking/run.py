"""What a tracker's run is, apart from any library."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assay_api.tracking import Tracker


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Which run a tracker is to open."""

    tracker: Tracker
    stage: str
    """Name of the stage, and of the run."""
    run_id: str
    """Of this stage in this store: a stage that goes on goes on with the same run."""
    config: Mapping[str, Any]
    """What is trained from what, for comparing runs."""
    folder: Path
    """Where a tracker without a server writes; empty at the start."""


class TrackerRun(Protocol):
    """An open run. Whatever its library raises is left to the caller."""

    last_step: int
    """The newest step that the tracker has; -1: none."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the numbers of one step; steps come in order, each once."""
        ...

    def close(self) -> None:
        """Let everything arrive, and mark the run as over."""
        ...
