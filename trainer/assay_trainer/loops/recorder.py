"""Where a running stage's numbers go: files and metrics, TensorBoard, trackers, log, progress."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch.utils.tensorboard import SummaryWriter

from assay_data.store import Store
from assay_trainer.metrics_log import write_metrics, write_progress
from assay_trainer.tracking.sender import Sender

_LOG = logging.getLogger(__name__)

_SHOWN = (
    "reward/mean",
    "accuracy/sampled",
    "accuracy/held_out_think",
    "accuracy/held_out_no_think",
    "well_formed/held_out_think",
    "well_formed/held_out_no_think",
    "judge/held_out_mean",
    "loss",
)


class Clock:
    """Seconds spent in each phase since it was last read."""

    def __init__(self) -> None:
        """Start at zero."""
        self._seconds: dict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time in this block as the phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Return `time/NAME_seconds` of all phases, of the rest and in all; start anew."""
        now = time.perf_counter()
        total, spent = now - self._since, dict(self._seconds)
        self._seconds.clear()
        self._since = now
        spent["other"] = total - sum(spent.values())
        spent["step"] = total
        return {f"time/{name}_seconds": seconds for name, seconds in spent.items()}


class Recorder:
    """Records the numbers of a stage; on the rank that leads, and nothing on the others."""

    def __init__(
        self, store: Store, *, total_steps: int, leads: bool, senders: Sequence[Sender] = ()
    ) -> None:
        """Record into the stage's folder, and for its trackers."""
        self._store = store
        self._total = total_steps
        self._leads = leads
        self._shown: dict[str, float] = {}
        self._senders = senders
        self._board = SummaryWriter(str(store.path("tensorboard"))) if leads else None

    def say(self, step: int, doing: str) -> None:
        """Tell what is being done now."""
        if self._leads:
            write_progress(self._store, step, self._total, doing, self._shown)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the numbers of a step.

        Raises:
            EngineError: a number is not finite.
        """
        if not self._leads:
            return
        write_metrics(self._store, step, metrics)
        self._shown |= {name: metrics[name] for name in _SHOWN if name in metrics}
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
            newest = max(
                self._store.path("tensorboard").iterdir(), key=lambda path: path.stat().st_mtime
            )
            self._store.keep(f"tensorboard/{newest.name}")
        for sender in self._senders:
            sender.record(step, metrics)
        self.say(step, "training")
        shown = ", ".join([f"step {step} of {self._total}", *told(metrics)])
        _LOG.info("%s", shown, extra={"numbers": {"step": step, **metrics}})

    def close(self) -> None:
        """Let what trackers have not yet been told arrive."""
        for sender in self._senders:
            sender.close()


def told(metrics: Mapping[str, float]) -> list[str]:
    """Return the numbers of a step that its line in the log shows.

    Example:
        >>> told({"time/step_seconds": 31.24, "loss": 0.0123456, "reward/mean": 0.5})
        ['reward/mean 0.5', 'loss 0.01235', '31.2 s']
    """
    seconds = metrics.get("time/step_seconds")
    shown = [f"{name} {metrics[name]:.4g}" for name in _SHOWN if name in metrics]
    return shown + ([f"{seconds:.1f} s"] if seconds is not None else [])
