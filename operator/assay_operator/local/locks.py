"""One run at a time works on a resource; the kernel releases the locks of one that dies."""

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from assay_api.errors import StoreError
from assay_api.layout import ResourceId
from assay_operator.local.store import LocalStore


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that works on a resource."""

    pid: int
    """Its process."""
    host: str
    """The machine it is on."""
    command: str
    """How it was started."""
    started: str
    """When, in UTC."""

    def __str__(self) -> str:
        """Return who it is, for people."""
        return f"process {self.pid} on {self.host}, started {self.started} as: {self.command}"


@contextlib.contextmanager
def hold(store: LocalStore, resources: Sequence[ResourceId]) -> Iterator[None]:
    """Hold the locks of the resources; a context.

    Raises:
        StoreError: another run holds one, or the lock files can't be written.
    """
    host, started = socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds")
    own = Holder(os.getpid(), host, " ".join(sys.argv), started)
    with contextlib.ExitStack() as stack:
        for resource in sorted(resources):
            path = _path(store, resource)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("a+"))
            except OSError as error:
                raise StoreError(
                    f"{path} can't be written: {error}; mend that, run again"
                ) from None
            if not _try_lock(file, fcntl.LOCK_EX):
                raise StoreError(
                    f"{resource} in {store.url} is being worked on by {_read(file)}; "
                    "wait for it, stop it, or use another --store"
                )
            file.truncate(0)
            file.write(json.dumps(asdict(own)))
            file.flush()
        yield


def holder_of(store: LocalStore, resource: ResourceId) -> Holder | None:
    """Return the run that works on the resource now, if there is one."""
    try:
        with _path(store, resource).open("r") as file:
            return None if _try_lock(file, fcntl.LOCK_SH) else _read(file)
    except FileNotFoundError:
        return None


def _path(store: LocalStore, resource: ResourceId) -> Path:
    return store.path(f"locks/{resource.kind.lower()}-{resource.name}.lock")


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> Holder:
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        # The holder has the lock but has not written who it is yet.
        return Holder(0, "this machine", "unknown", "just now")
