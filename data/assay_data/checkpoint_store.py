"""Checkpoints of a training stage as a store holds them: whole ones only, old ones retired.

A checkpoint is a published tree `step-000120` with `checkpoint.json` in it. `pins/NAME.json` names
a step that somebody works with at the moment; such a checkpoint is not retired.
"""

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from assay_api.errors import StoreError
from assay_data.store import MANIFEST, Store

_INFO = "checkpoint.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint that is there entirely."""

    step: int
    """Optimiser steps done."""
    world_size: int
    """Learner processes that wrote it."""
    score: float | None = None
    """How good the model is there, larger is better; None: nobody measured."""

    @property
    def name(self) -> str:
        """Key of its tree."""
        return _name(self.step)


def _name(step: int) -> str:
    return f"step-{step:06d}"


class CheckpointStore:
    """The checkpoints under a prefix of a store."""

    def __init__(self, store: Store) -> None:
        """Take the store, which holds nothing else."""
        self._store = store

    def publish(self, tree: Path, checkpoint: SavedCheckpoint) -> str:
        """Publish a local folder as a checkpoint; return its digest.

        Raises:
            StoreError: it cannot be written; what is there already stays.
        """
        (tree / _INFO).write_text(json.dumps(asdict(checkpoint)))
        return self._store.publish(tree, checkpoint.name)

    def saved(self) -> list[SavedCheckpoint]:
        """Return the checkpoints that are there entirely, by step.

        Raises:
            StoreError: the store cannot be read.
        """
        keys = [key for key in self._store.list() if key.endswith(f"/{MANIFEST}")]
        found = [self._read(key.removesuffix(MANIFEST) + _INFO) for key in keys]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def newest(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint whose files are as they were written.

        One with a damaged or missing file is passed over, with a warning; None: there is none.

        Raises:
            StoreError: there are checkpoints and all are damaged, or the store cannot be read.
        """
        problem: StoreError | None = None
        for checkpoint in reversed(self.saved()):
            try:
                self._store.verify(checkpoint.name)
                return checkpoint
            except StoreError as error:
                problem = error
                _LOG.warning("checkpoint %s is passed over: %s", checkpoint.name, error)
        if problem is not None:
            raise problem
        return None

    def fetch(self, checkpoint: SavedCheckpoint) -> Path:
        """Return a local copy of a checkpoint.

        Raises:
            StoreError: it is not there entirely.
        """
        return self._store.fetch(checkpoint.name)

    def pin(self, holder: str, step: int) -> None:
        """Keep a checkpoint from being retired for as long as the holder works with it."""
        self._store.write(f"pins/{holder}.json", json.dumps({"step": step}).encode())

    def unpin(self, holder: str) -> None:
        """Tell that the holder is done."""
        self._store.delete(f"pins/{holder}.json")

    def retire(self, *, keep_last: int, keep_best: int) -> list[int]:
        """Remove the checkpoints that nobody needs any more; return their steps.

        Raises:
            StoreError: the store cannot be read or written.
        """
        pins = [json.loads(self._store.read(key))["step"] for key in self._store.list("pins")]
        gone = expired(self.saved(), keep_last=keep_last, keep_best=keep_best, pinned=pins)
        for step in gone:
            self._store.delete(_name(step))
        return gone

    def _read(self, key: str) -> SavedCheckpoint:
        try:
            return SavedCheckpoint(**json.loads(self._store.read(key)))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{self._store.url}/{key} is damaged ({error}): delete this checkpoint's folder"
            ) from error


def expired(
    saved: Sequence[SavedCheckpoint], *, keep_last: int, keep_best: int, pinned: Collection[int]
) -> list[int]:
    """Return the steps of the checkpoints to remove: not new, not among the best, not in use.

    Of equal scores the later one counts as better.

    Example:
        >>> saved = [SavedCheckpoint(10, 1, 0.9), SavedCheckpoint(20, 1, 0.7),
        ...          SavedCheckpoint(30, 1), SavedCheckpoint(40, 1, 0.8)]
        >>> expired(saved, keep_last=1, keep_best=1, pinned=[20])
        [30]
    """
    by_step = sorted(saved, key=lambda checkpoint: checkpoint.step)
    scored = [(c.score, c.step) for c in by_step if c.score is not None]
    kept = {c.step for c in by_step[len(by_step) - min(keep_last, len(by_step)) :]}
    kept |= {step for _, step in sorted(scored, reverse=True)[:keep_best]}
    kept |= set(pinned)
    return [c.step for c in by_step if c.step not in kept]
