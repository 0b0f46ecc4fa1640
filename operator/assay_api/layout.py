"""Where things lie in a store: one folder per resource, by kind and name."""

from typing import NamedTuple

from assay_api.base import ThinkingMode

PLURALS = {
    "Dataset": "datasets",
    "TrainingStage": "stages",
    "Evaluation": "evaluations",
    "RewardModel": "reward-models",
    "TrainingPipeline": "pipelines",
}
"""Folder of each kind."""

PIN = "model-pin.json"
"""Key, within a resource's folder, of the commit of the model of the Hub that it uses."""


class ResourceId(NamedTuple):
    """Identifies a resource; prints as `Kind/name`."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return `Kind/name`."""
        return f"{self.kind}/{self.name}"

    @property
    def folder(self) -> str:
        """Prefix of everything about the resource, e.g. `stages/foundation`."""
        return f"{PLURALS[self.kind]}/{self.name}"

    @property
    def completion_key(self) -> str:
        """Key of the proof that it finished, e.g. `stages/foundation/completion.json`."""
        return f"{self.folder}/completion.json"

    @property
    def pin_key(self) -> str:
        """Key of the commit of its model of the Hub, e.g. `stages/foundation/model-pin.json`."""
        return f"{self.folder}/{PIN}"

    @property
    def newest_key(self) -> str:
        """Key of a scheduled evaluation's newest result, e.g. `evaluations/nightly/newest.json`."""
        return f"{self.folder}/newest.json"

    @property
    def progress_key(self) -> str:
        """Key of its current step, e.g. `stages/foundation/progress.json`."""
        return f"{self.folder}/progress.json"

    def orders_key(self, attempt: int) -> str:
        """Return the key of an attempt's orders, e.g. `stages/foundation/orders/attempt-1.json`."""
        return f"{self.folder}/orders/attempt-{attempt}.json"

    def outcome_key(self, attempt: int) -> str:
        """Return the key of how an attempt ended, e.g. `.../outcomes/attempt-1.json`."""
        return f"{self.folder}/outcomes/attempt-{attempt}.json"

    def stop_key(self, attempt: int) -> str:
        """Return the key of the request to an attempt to stop, e.g. `.../stops/attempt-1.json`."""
        return f"{self.folder}/{stop_file(attempt)}"

    def log_key(self, attempt: int) -> str:
        """Return the key of an attempt's output, e.g. `stages/foundation/logs/attempt-1.log`."""
        return f"{self.folder}/logs/attempt-{attempt}.log"


def stop_file(attempt: int) -> str:
    """Return the key of the request to stop within the resource's own folder.

    Example:
        >>> stop_file(3)
        'stops/attempt-3.json'
    """
    return f"stops/attempt-{attempt}.json"


def accuracy_key(mode: ThinkingMode) -> str:
    """Return the name of a mode's accuracy in the summary of an evaluation's completion.

    Example:
        >>> accuracy_key(ThinkingMode.NO_THINK)
        'accuracy/no_think'
    """
    return f"accuracy/{'think' if mode is ThinkingMode.THINK else 'no_think'}"
