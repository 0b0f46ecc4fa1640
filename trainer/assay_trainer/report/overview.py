"""What became of each stage, in one row."""

from dataclasses import dataclass

from assay_trainer.report.charts import Metrics
from assay_trainer.report.run import StageRecord


@dataclass(frozen=True, slots=True)
class Change:
    """A number when a stage first measured it, and when it last did."""

    first_step: int
    before: float
    last_step: int
    after: float

    @property
    def is_one_point(self) -> bool:
        """Whether it was measured once only, so that there is no before."""
        return self.first_step == self.last_step


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """A stage in the table at the top of the page."""

    name: str
    method: str
    state: str
    finished: bool
    steps_done: int
    total_steps: int | None
    seconds: float | None
    """Sum over its steps; None if no step was timed."""
    think: Change | None
    """Held-out accuracy when asked to think."""
    no_think: Change | None
    """Held-out accuracy when asked not to."""
    judge: Change | None
    """The judge's mean score on held-out clips."""


def overview_row(stage: StageRecord) -> OverviewRow:
    """Return what became of a stage."""
    metrics = stage.metrics
    seconds = [m["time/step_seconds"] for m in metrics.values() if "time/step_seconds" in m]
    steps = [*metrics, stage.progress.step if stage.progress else 0]
    return OverviewRow(
        name=stage.name,
        method=stage.method,
        state=_state(stage),
        finished=stage.completion is not None,
        steps_done=max(steps),
        total_steps=_total_steps(stage),
        seconds=sum(seconds) if seconds else None,
        think=change(metrics, "accuracy/held_out_think"),
        no_think=change(metrics, "accuracy/held_out_no_think"),
        judge=change(metrics, "judge/held_out_mean"),
    )


def change(metrics: Metrics, name: str) -> Change | None:
    """Return the first and last value of a metric; None if it was never measured."""
    points = [(step, numbers[name]) for step, numbers in metrics.items() if name in numbers]
    if not points:
        return None
    return Change(*points[0], *points[-1])


def settings(stage: StageRecord) -> dict[str, str]:
    """Return the stage's main settings for people, by name; none before its orders are known."""
    if stage.job is None:
        return {}
    spec = stage.job.stage.spec
    method = spec.sft or spec.rl or spec.fusion
    assert method is not None
    found = {
        "starts from": spec.model.from_stage or spec.model.uri or "random weights",
        "dataset": spec.dataset,
        "learning rate": f"{method.optimizer.learning_rate:g}",
        "trains": f"LoRA of rank {spec.lora.rank}" if spec.lora else "all weights",
        "attempt": str(stage.job.attempt),
    }
    if spec.sft is not None:
        found["task"] = spec.sft.task
    if spec.rl is not None:
        found["batch"] = f"{spec.rl.prompts_per_step} prompts of {spec.rl.group_size} rollouts"
        found["modes"] = ", ".join(spec.rl.modes)
        found["rewards"] = " + ".join(f"{r.weight:g} {r.name}" for r in spec.rewards)
    return found


def results(stage: StageRecord) -> dict[str, str]:
    """Return what a finished stage says of itself for people, by name; nothing before that."""
    if stage.completion is None:
        return {}
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in stage.completion.summary.items()
    }


def _state(stage: StageRecord) -> str:
    if stage.completion is not None:
        return "finished"
    if stage.progress is not None:
        return f"not finished: {stage.progress.doing}"
    if stage.metrics:
        return "not finished"
    return "nothing recorded yet"


def _total_steps(stage: StageRecord) -> int | None:
    if stage.job is not None:
        return stage.job.stage.spec.total_steps
    return stage.progress.total if stage.progress is not None else None
