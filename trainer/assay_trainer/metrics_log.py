"""A stage's numbers as files: one per step, and one that says how far the stage is.

The same numbers are exported to Prometheus from here, so that both always agree.

    metrics/step-000012.json    {"step": 12, "reward/mean": 0.31, "accuracy/sampled": 0.58, ...}
    progress.json               {"step": 12, "total": 40, "doing": "sampling", "metrics": {...}}

A step that is done again after a restart replaces its file.
"""

import json
import math
import re
from collections.abc import Mapping

from pydantic import Field, TypeAdapter, ValidationError

from assay_api import EngineError, Model, StoreError
from assay_data.store import Store
from assay_trainer.exported import PROGRESS_DONE, PROGRESS_PLANNED, STEP_NUMBERS

_STEP = re.compile(r"/step-(\d+)\.[a-z]+$")
_METRICS = TypeAdapter(dict[str, float])


class Progress(Model):
    """How far a stage is: `progress.json`."""

    step: int = Field(description="Optimiser steps done.")
    total: int = Field(description="Optimiser steps in all.")
    doing: str = Field(description="What is being done, for people.")
    metrics: dict[str, float] = Field(default_factory=dict, description="A few numbers to show.")


def write_metrics(store: Store, step: int, metrics: Mapping[str, float]) -> None:
    """Write a step's numbers into the stage's folder.

    Args:
        store: the stage's folder.
        step: optimiser steps done, this one included; 0 is before the first.
        metrics: number by name; units are part of the name.

    Raises:
        EngineError: a number is not finite: training has come apart and must not go on.
    """
    _check_finite(step, metrics)
    STEP_NUMBERS.record(metrics)
    store.write(step_key("metrics", step, "json"), _to_json({"step": step, **metrics}))


def read_metrics(store: Store) -> dict[int, dict[str, float]]:
    """Return the numbers of all steps in the stage's folder, by step, in order.

    Raises:
        StoreError: a file is damaged.
    """
    return {step: _read_step(store, key) for step, key in step_keys(store, "metrics")}


def _read_step(store: Store, key: str) -> dict[str, float]:
    try:
        return _METRICS.validate_json(store.read(key))
    except ValidationError as error:
        raise StoreError(
            f"{store.url}/{key}: {error.errors()[0]['msg']}; expected names with numbers: "
            "delete this file, only its step's point in the curves is lost"
        ) from None


def write_progress(
    store: Store, step: int, total: int, doing: str, metrics: Mapping[str, float]
) -> None:
    """Write how far the stage is into its folder.

    Args:
        store: the stage's folder.
        step: optimiser steps done.
        total: optimiser steps in all.
        doing: what is being done, for people.
        metrics: a few numbers worth showing.

    Raises:
        EngineError: a number is not finite.
    """
    _check_finite(step, metrics)
    PROGRESS_DONE.set(step)
    PROGRESS_PLANNED.set(total)
    progress = Progress(step=step, total=total, doing=doing, metrics=dict(metrics))
    store.write("progress.json", _to_json(progress.model_dump()))


def read_progress(store: Store) -> Progress | None:
    """Return how far the stage is; None if it has not said so yet.

    Raises:
        StoreError: the file is damaged.
    """
    if not store.exists("progress.json"):
        return None
    try:
        return Progress.model_validate_json(store.read("progress.json"))
    except ValidationError as error:
        raise StoreError(
            f"{store.url}/progress.json: {error.errors()[0]['msg']}; delete this file, a running "
            "stage writes it anew"
        ) from None


def step_key(folder: str, step: int, extension: str) -> str:
    """Return the key of a step's file, e.g. `metrics/step-000012.json`."""
    return f"{folder}/step-{step:06d}.{extension}"


def step_keys(store: Store, folder: str) -> list[tuple[int, str]]:
    """Return step and key of all steps' files in a folder of the store, in the order of steps."""
    found = [(_STEP.search(key), key) for key in store.list(folder)]
    return sorted((int(match[1]), key) for match, key in found if match)


def _check_finite(step: int, metrics: Mapping[str, float]) -> None:
    wrong = [f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise EngineError(
            f"step {step}: {', '.join(wrong)}: not finite, so the weights can no longer be "
            "trusted. The checkpoints are kept: lower optimizer.learningRate or "
            "optimizer.maxGradNorm and go on from the last one"
        )


def _to_json(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, allow_nan=False, indent=1) + "\n").encode()
