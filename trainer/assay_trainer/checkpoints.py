"""Checkpoints of a stage: everything that exact resume needs, published whole or not at all.

A checkpoint holds the learner's shards (weights, optimiser, schedule) and a few numbers: the step,
the policy version, and the position in the stream of prompts. Nothing else is random: every draw
is made from a seed and such a position.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from assay_api import InvalidInput
from assay_data.store import Store
from assay_trainer.learner.deepspeed_engine import Learner

_FOLDER = "checkpoints"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stage is: what, beside the learner's own state, the next step depends on."""

    step: int
    """Steps done."""
    policy_version: int
    """Optimiser steps taken; a step without a usable group takes none."""
    cursor: int
    """Prompts (or examples) drawn from the stream."""


class Checkpoints:
    """The checkpoints in a stage's folder."""

    def __init__(self, store: Store, learner: Learner, *, identity: str, keep: int) -> None:
        """Save and load the state of `learner` under `store`; the newest `keep` stay.

        `identity` is the digest of what the stage trains from what; a checkpoint of another one
        is not gone on from.
        """
        self._store = store
        self._learner = learner
        self._identity = identity
        self._keep = keep

    def resume(self) -> Position:
        """Load the newest checkpoint; without one, the position is the start.

        Raises:
            InvalidInput: the checkpoints are those of a stage with another spec or other inputs.
        """
        names = self._published()
        if not names:
            return Position(step=0, policy_version=0, cursor=0)
        folder = self._store.fetch(f"{_FOLDER}/{names[-1]}")
        saved = json.loads((folder / "position.json").read_text())
        if saved.pop("identity") != self._identity:
            raise InvalidInput(
                f"{self._store.url}: the stage was begun with another spec or other inputs and "
                f"stopped at step {saved['step']}; go back to that spec, give another name or "
                f"store, or delete {self._store.url} to begin again"
            )
        self._learner.load(folder)
        return Position(**saved)

    def save(self, position: Position) -> None:
        """Publish the learner's state with its position; drop checkpoints that are too old."""
        with shared_folder(self._learner) as folder:
            self._learner.save(folder)
            self._learner.barrier()
            if self._learner.rank == 0:
                (folder / "position.json").write_text(
                    json.dumps({**asdict(position), "identity": self._identity})
                )
                self._store.publish(folder, f"{_FOLDER}/step-{position.step:06d}")
                for name in self._published()[: -self._keep]:
                    self._store.delete(f"{_FOLDER}/{name}")
            self._learner.barrier()

    def _published(self) -> list[str]:
        keys = self._store.list(_FOLDER)
        return sorted(key.split("/")[1] for key in keys if key.endswith("/manifest.json"))


@contextmanager
def shared_folder(learner: Learner) -> Iterator[Path]:
    """Give all learner processes of this machine one temporary folder to write into."""
    own = tempfile.TemporaryDirectory(prefix="assay-checkpoint-") if learner.rank == 0 else None
    try:
        yield Path(learner.broadcast(own.name if own else ""))
    finally:
        if own is not None:
            own.cleanup()
