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
from assay_api.running import Checkpoint
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint
from assay_data.store import Store
from assay_trainer.learner.deepspeed_engine import Learner


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

    def __init__(self, store: Store, learner: Learner, *, identity: str, plan: Checkpoint) -> None:
        """Save and load the state of `learner` in the stage's folder; old ones go as planned.

        `identity` is the digest of what the stage trains from what; a checkpoint of another one
        is not gone on from.
        """
        self._store = store
        self._checkpoints = CheckpointStore(store.child("checkpoints"))
        self._learner = learner
        self._identity = identity
        self._plan = plan

    def resume(self) -> Position:
        """Load the newest checkpoint; without one, the position is the start.

        Raises:
            InvalidInput: the checkpoints are those of a stage with another spec or other inputs.
        """
        newest = self._checkpoints.newest() if self._learner.rank == 0 else None
        # All ranks go on from the same one, whatever each of them would find.
        checkpoint = self._learner.broadcast(newest)
        if checkpoint is None:
            return Position(step=0, policy_version=0, cursor=0)
        folder = self._checkpoints.fetch(checkpoint)
        saved = json.loads((folder / "position.json").read_text())
        if saved.pop("identity") != self._identity:
            raise InvalidInput(
                f"{self._store.url}: the stage was begun with another spec or other inputs and "
                f"stopped at step {saved['step']}; go back to that spec, give another name or "
                f"store, or delete {self._store.url} to begin again"
            )
        self._learner.load(folder)
        return Position(**saved)

    def save(self, position: Position, score: float | None = None) -> None:
        """Publish the learner's state with its position; drop checkpoints that are too old.

        Args:
            position: how far the stage is.
            score: how good the model is now, as far as it was measured; larger is better.
        """
        with shared_folder(self._learner) as folder:
            self._learner.save(folder)
            self._learner.barrier()
            if self._learner.rank == 0:
                (folder / "position.json").write_text(
                    json.dumps({**asdict(position), "identity": self._identity})
                )
                self._checkpoints.publish(
                    folder, SavedCheckpoint(position.step, self._learner.world_size, score)
                )
                self._checkpoints.retire(keep_last=self._plan.keep, keep_best=self._plan.keep_best)
            self._learner.barrier()


@contextmanager
def shared_folder(learner: Learner) -> Iterator[Path]:
    """Give all learner processes of this machine one temporary folder to write into."""
    own = tempfile.TemporaryDirectory(prefix="assay-checkpoint-") if learner.rank == 0 else None
    try:
        yield Path(learner.broadcast(own.name if own else ""))
    finally:
        if own is not None:
            own.cleanup()
