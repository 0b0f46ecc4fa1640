"""Weights & Biases. The only module that imports wandb."""

from collections.abc import Mapping

import wandb

from assay_trainer.tracking.run import RunPlan

_START_SECONDS = 60.0


class WandbRun:
    """A run of W&B; offline it is a folder, which `wandb sync` sends."""

    def __init__(self, plan: RunPlan) -> None:
        """Open the run, or go on with it.

        Of the machine nothing is told: neither its metrics, nor its files, nor the code.
        """
        tracker = plan.tracker
        self._run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            id=plan.run_id,
            name=plan.stage,
            dir=plan.folder,
            config=dict(plan.config),
            resume="allow" if tracker.url else None,
            settings=wandb.Settings(
                mode="online" if tracker.url else "offline",
                **({"base_url": tracker.url} if tracker.url else {}),
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                init_timeout=_START_SECONDS,
            ),
        )
        self.last_step = self._run.step - 1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the numbers of one step."""
        self._run.log(dict(metrics), step=step, commit=True)

    def close(self) -> None:
        """Let everything arrive, and mark the run as over."""
        self._run.finish()
