"""What a stage's trackers need of this machine, looked at before anything is loaded."""

import importlib.util
import os
from collections.abc import Sequence

from assay_api import InvalidInput
from assay_api.tracking import SECRET_KEYS, Tracker, TrackerType

_PACKAGES = {
    TrackerType.WANDB: ("wandb", "wandb"),
    TrackerType.MLFLOW: ("mlflow", "mlflow-skinny"),
    TrackerType.TRACKIO: ("trackio", "trackio"),
}
"""Module, and the package that it comes with."""
_WITHOUT_KEY = (TrackerType.MLFLOW,)
"""Trackers whose servers may be open to all."""


def check_packages(trackers: Sequence[Tracker], where: str = "") -> None:
    """Return if every tracker's package is installed.

    Args:
        trackers: of one stage.
        where: what a message begins with.

    Raises:
        InvalidInput: one is not.
    """
    for index, tracker in enumerate(trackers):
        module, package = _PACKAGES[tracker.type]
        if importlib.util.find_spec(module) is None:
            raise InvalidInput(
                f"{where}spec.tracking[{index}].type: {tracker.type.value} needs the package "
                f"{package}, which is not installed: `python -m pip install {package}` in Assay's "
                "environment, or take the tracker out"
            )


def check_keys(trackers: Sequence[Tracker], where: str = "") -> None:
    """Return if the key of every tracker with a server is in this process's environment.

    Args:
        trackers: of one stage.
        where: what a message begins with.

    Raises:
        InvalidInput: one is not.
    """
    for index, tracker in enumerate(trackers):
        keys = SECRET_KEYS[tracker.type]
        needs_key = tracker.url is not None and tracker.type not in _WITHOUT_KEY
        if needs_key and not any(os.environ.get(key) for key in keys):
            raise InvalidInput(
                f"{where}spec.tracking[{index}].url: {tracker.url} asks for a key: set the "
                f"variable {' or '.join(keys)}, or take the url out to stay offline"
            )
