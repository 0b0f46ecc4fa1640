"""Checkpoints of a training stage as a store holds them: whole ones only, old ones retired.

A checkpoint is a published tree `step-000120` with `checkpoint.json` in it. Where learners of
several machines wrote it, each machine but the first has published its part before, as a tree of
its own beside it, `step-000120-part-1`; `checkpoint.json` has the parts' digests. `pins/NAME.json`
names a step that somebody works with at the moment; such a checkpoint is not retired.
"""

import atexit
import json
import logging
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from assay_api.errors import StoreError
from assay_data.store import MANIFEST, Store
from assay_data.store.trees import changed, describe, tree_files

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
    parts: Sequence[str] = ()
    """Digests of the other machines' parts, in order."""

    @property
    def name(self) -> str:
        """Key of its tree."""
        return _name(self.step)

    @property
    def part_names(self) -> list[str]:
        """Keys of the other machines' trees."""
        return [_name(self.step, part) for part in range(1, len(self.parts) + 1)]


_NAME = re.compile(r"step-(\d{6,})(-part-\d+)?$")


def _name(step: int, part: int = 0) -> str:
    return f"step-{step:06d}" + (f"-part-{part}" if part else "")


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

    def publish_part(self, tree: Path, step: int, part: int) -> str:
        """Publish another machine's folder of a checkpoint, before the first's; return its digest.

        Raises:
            StoreError: it cannot be written.
        """
        return self._store.publish(tree, _name(step, part))

    def saved(self) -> list[SavedCheckpoint]:
        """Return the checkpoints that are there entirely, by step.

        Raises:
            StoreError: the store cannot be read.
        """
        found = [self._read(name) for name, (_, part) in self._trees() if not part]
        return sorted(filter(None, found), key=lambda checkpoint: checkpoint.step)

    def newest(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint whose files are as they were written.

        One with a damaged or missing file is passed over, with a warning; None: there is none.

        Raises:
            StoreError: there are checkpoints and all are damaged, or the store cannot be read.
        """
        problem: StoreError | None = None
        for checkpoint in reversed(self.saved()):
            try:
                self._verify(checkpoint)
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
        folder = self._store.fetch(checkpoint.name)
        parts = [self._store.fetch(name) for name in checkpoint.part_names]
        return _joined([folder, *parts]) if parts else folder

    def is_there(self, checkpoint: SavedCheckpoint) -> bool:
        """Tell whether a checkpoint has not been retired."""
        return self._store.exists(f"{checkpoint.name}/{MANIFEST}")

    def digest(self, checkpoint: SavedCheckpoint) -> str:
        """Return the digest of a checkpoint's files.

        Raises:
            StoreError: it is not there entirely.
        """
        return self._store.digest(checkpoint.name)

    def read(self, checkpoint: SavedCheckpoint, name: str) -> bytes:
        """Return the content of one file of a checkpoint.

        Raises:
            StoreError: it is not there.
        """
        return self._store.read(f"{checkpoint.name}/{name}")

    def fetch_file(self, checkpoint: SavedCheckpoint, name: str, path: Path) -> None:
        """Copy one file of a checkpoint, compared with its SHA-256: the others may be much larger.

        Files of other machines' parts can't be asked for: what rank 0 wrote is in the first.

        Raises:
            StoreError: the checkpoint has no such file, or the file is not as it was written.
        """
        files = tree_files(self._store, checkpoint.name)
        key = f"{checkpoint.name}/{name}"
        if name not in files:
            raise StoreError(
                f"{self._store.url}/{checkpoint.name} has no {name}: it is no checkpoint of this "
                "version's learner"
            )
        self._store.get(key, path)
        found = describe(path)
        if found != files[name]:
            said = f"{found['size_bytes']} bytes with SHA-256 {found['sha256']}"
            raise changed(f"{self._store.url}/{key}", said, files[name])

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
        pins = filter(None, map(self._read_pin, self._store.list("pins")))
        pinned = [json.loads(pin)["step"] for pin in pins]
        saved = self.saved()
        gone = expired(saved, keep_last=keep_last, keep_best=keep_best, pinned=pinned)
        kept = {checkpoint.step for checkpoint in saved} - set(gone)
        newest = max(kept, default=0)
        # Parts of unfinished ones go as well; a checkpoint goes before its parts.
        for name, (step, _) in sorted(self._trees(), key=lambda tree: tree[1]):
            if step not in kept and step < newest:
                self._store.delete(name)
        return gone

    def _trees(self) -> list[tuple[str, tuple[int, bool]]]:
        """Return the name of each tree that is there, with its step and whether it is a part."""
        keys = (key for key in self._store.list() if key.endswith(f"/{MANIFEST}"))
        names = (_NAME.match(key.removesuffix(f"/{MANIFEST}")) for key in keys)
        return [(name[0], (int(name[1]), bool(name[2]))) for name in names if name]

    def _verify(self, checkpoint: SavedCheckpoint) -> None:
        for name, digest in zip(checkpoint.part_names, checkpoint.parts, strict=True):
            if self._store.digest(name) != digest:
                raise StoreError(f"{self._store.url}/{name} is not the part that belongs to it")
        for name in (checkpoint.name, *checkpoint.part_names):
            self._store.verify(name)

    def _read_pin(self, key: str) -> bytes | None:
        """Return a pin; None: its holder was done since the pins were listed."""
        try:
            return self._store.read(key)
        except StoreError:
            if self._store.exists(key):
                raise
            return None

    def _read(self, tree: str) -> SavedCheckpoint | None:
        """Return what a checkpoint says of itself; None: it was retired since it was listed."""
        key = f"{tree}/{_INFO}"
        try:
            told = json.loads(self._store.read(key))
            return SavedCheckpoint(**{**told, "parts": tuple(told.get("parts", ()))})
        except StoreError:
            if self._store.exists(f"{tree}/{MANIFEST}"):
                raise
            return None
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{self._store.url}/{key} is damaged ({error}): delete this checkpoint's folder"
            ) from error


def _joined(folders: Sequence[Path]) -> Path:
    """Return a folder that shows the files of all, kept for as long as this process lives."""
    scratch = tempfile.TemporaryDirectory(prefix="assay-checkpoint-")
    atexit.register(scratch.cleanup)
    for folder in folders:
        for path in folder.rglob("*"):
            place = Path(scratch.name, path.relative_to(folder))
            if path.is_file() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
    return Path(scratch.name)


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
