"""One run at a time works on a resource; the kernel releases the locks of one that dies."""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from assay_api.errors import StoreError
from assay_api.layout import ResourceId
from assay_operator.local.holder import Holder, in_use, this_run
from assay_operator.local.leases import Leases, lease
from assay_operator.local.store import LocalStore


@contextlib.contextmanager
def hold(store: LocalStore, resources: Sequence[ResourceId]) -> Iterator[Leases]:
    """Hold the locks of the resources, and their leases if other machines reach the store.

    Raises:
        StoreError: another run holds one, or the store can't be written.
    """
    own = this_run()
    with contextlib.ExitStack() as stack:
        for resource in sorted(resources):
            _lock(store, resource, own, stack)
        if store.on_this_machine:
            yield Leases()
        else:
            yield stack.enter_context(lease(store, resources, own))


def _lock(
    store: LocalStore, resource: ResourceId, own: Holder, stack: contextlib.ExitStack
) -> None:
    path = _path(store, resource)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(path.open("a+"))
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error}; mend that, run again") from None
    if not _try_lock(file, fcntl.LOCK_EX):
        raise in_use(resource, store.url, _read(file))
    file.truncate(0)
    file.write(json.dumps(asdict(own)))
    file.flush()


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
