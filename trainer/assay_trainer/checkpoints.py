"""Checkpoints of a stage: everything that exact resume needs, published whole or not at all.

A checkpoint holds the learner's shards (weights that train, optimiser, schedule) and a few numbers:
the step, the policy version, and the position in the stream of prompts. Frozen weights are those of
the model that the stage starts from, whose digest is part of its identity. Nothing else is random:
every draw is made from a seed and such a position.
"""

import json
import logging
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from assay_api import InvalidInput
from assay_api.running import Checkpoint
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint
from assay_data.store import Store
from assay_trainer.exported import CHECKPOINT_SECONDS, CHECKPOINT_STEP, CHECKPOINT_TIME
from assay_trainer.learner.learner import Learner

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stage is: what, beside the learner's own state, the next step depends on."""

    step: int
    """Steps done."""
    policy_version: int
    """Optimiser steps taken; a step without a usable group takes none."""
    cursor: int
    """Prompts (or examples) drawn from the stream."""
    empty_steps: int = 0
    """Newest steps in a row that took no optimiser step, for want of a usable group."""


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
            self._tell("begins: there is no checkpoint")
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
        self._tell(f"goes on from the checkpoint of step {saved['step']}")
        return Position(**saved)

    def save(self, position: Position, score: float | None = None) -> None:
        """Publish the learner's state with its position; drop checkpoints that are too old.

        Args:
            position: how far the stage is.
            score: how good the model is now, as far as it was measured; larger is better.
        """
        learner, started = self._learner, time.perf_counter()
        with machine_folder(learner) as mine:
            learner.save(mine.folder)
            learner.barrier()
            # Every machine brings its own part to the store, side by side; the first one's is last.
            part = ""
            if mine.leads and mine.machine:
                part = self._checkpoints.publish_part(mine.folder, position.step, mine.machine)
            parts = [digest for digest in learner.gather(part) if digest]
            if learner.rank == 0:
                (mine.folder / "position.json").write_text(
                    json.dumps({**asdict(position), "identity": self._identity})
                )
                saved = SavedCheckpoint(position.step, learner.world_size, score, tuple(parts))
                self._checkpoints.publish(mine.folder, saved)
                self._checkpoints.retire(keep_last=self._plan.keep, keep_best=self._plan.keep_best)
            learner.barrier()
        seconds = time.perf_counter() - started
        CHECKPOINT_STEP.set(position.step)
        CHECKPOINT_TIME.set_to_current_time()
        CHECKPOINT_SECONDS.set(seconds)
        self._tell(f"checkpoint of step {position.step} published in {seconds:.1f} s")

    def _tell(self, event: str) -> None:
        if self._learner.rank == 0:
            _LOG.info("%s", event)


@dataclass(frozen=True, slots=True)
class MachineFolder:
    """A temporary folder that the learner processes of one machine share."""

    folder: Path
    machine: int
    """Number of the machine, by the least rank on it; 0 is that of rank 0."""
    leads: bool
    """Whether this process has the least rank on its machine."""


@contextmanager
def machine_folder(learner: Learner) -> Iterator[MachineFolder]:
    """Give all learner processes of each machine one temporary folder to write into."""
    host = socket.gethostname()
    hosts = learner.gather(host)
    leads = hosts.index(host) == learner.rank
    own = tempfile.TemporaryDirectory(prefix="assay-checkpoint-") if leads else None
    try:
        folders = learner.gather(own.name if own else "")
        machine = list(dict.fromkeys(hosts)).index(host)
        yield MachineFolder(Path(folders[hosts.index(host)]), machine, leads)
    finally:
        if own is not None:
            own.cleanup()
