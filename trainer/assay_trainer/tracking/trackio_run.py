"""Trackio. The only module that imports trackio."""

import contextlib
import io
import os
from collections.abc import Mapping

from assay_trainer.tracking.run import RunPlan

_SPACES = "https://huggingface.co/spaces/"


class TrackioRun:
    """A run of Trackio; offline it is a database in a folder, which `trackio show` shows."""

    def __init__(self, plan: RunPlan) -> None:
        """Open the run, or go on with it; Trackio knows runs by their names."""
        url, name = plan.tracker.url, f"{plan.stage}-{plan.run_id[:6]}"
        os.environ["TRACKIO_DIR"] = str(plan.folder)
        space = url.removeprefix(_SPACES) if url and url.startswith(_SPACES) else None
        with contextlib.redirect_stdout(io.StringIO()):
            import trackio  # reads TRACKIO_DIR

            self._run = trackio.init(
                plan.tracker.project,
                name=name,
                space_id=space,
                server_url=None if space else url,
                config=dict(plan.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.last_step = self._run._next_step - 1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Let everything arrive."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()
