"""One run at a time works on a resource of a store that several machines reach.

Such a store has no locks that end with their holder. A lease is a file that its holder writes anew
every few seconds; who finds one that does not change for a while takes it over. Nobody's clock
is compared with another's.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields

from assay_api.errors import StoreError
from assay_api.layout import ResourceId
from assay_operator.local.holder import Holder, in_use
from assay_operator.local.store import LocalStore

RENEW_SECONDS = 10.0
DEAD_AFTER_SECONDS = 40.0
"""A lease that was not renewed for so long is nobody's."""


@dataclass(slots=True)
class _Lease:
    key: str
    content: bytes
    """As this holder last wrote it."""


@dataclass(slots=True)
class Leases:
    """The leases that this run holds."""

    held: list[_Lease] = field(default_factory=list)
    lost: str | None = None
    """Why one is not held any more."""

    def check(self) -> None:
        """Raise StoreError if a lease was lost: another run may work on the same."""
        if self.lost:
            raise StoreError(self.lost)


@contextlib.contextmanager
def lease(
    store: LocalStore,
    resources: Sequence[ResourceId],
    own: Holder,
    *,
    renew_seconds: float = RENEW_SECONDS,
    dead_after_seconds: float = DEAD_AFTER_SECONDS,
) -> Iterator[Leases]:
    """Hold leases of the resources; a context.

    Raises:
        StoreError: another run holds one and renews it, or the store cannot be written.
    """
    leases, ended = Leases(), threading.Event()
    renewing = threading.Thread(
        target=_renew, args=(store, leases, own, ended, renew_seconds), daemon=True
    )
    try:
        for resource in sorted(resources):
            content = _content(own, 0)
            _take(store, resource, content, own, dead_after_seconds)
            leases.held.append(_Lease(_key(resource), content))
        renewing.start()
        yield leases
    finally:
        ended.set()
        if renewing.is_alive():
            renewing.join()
        for held in leases.held:
            # Given up by a change of content first: never somebody else's that came after.
            if leases.lost is None and store.swap(held.key, b"{}", held.content):
                store.delete(held.key)


def _take(
    store: LocalStore, resource: ResourceId, content: bytes, own: Holder, dead_after: float
) -> None:
    key = _key(resource)
    while not store.create(key, content):
        found = _read(store, key)
        if found is None:
            continue
        if _is_held(store, key, found, own, dead_after):
            raise in_use(resource, store.url, _holder(found))
        if store.swap(key, content, found):
            return


def _is_held(store: LocalStore, key: str, found: bytes, own: Holder, dead_after: float) -> bool:
    """Tell whether who wrote a lease renews it; a dead process of this machine surely does not."""
    holder = _holder(found)
    if holder is None or holder.died_on(own.machine):
        return False
    until = time.monotonic() + dead_after
    while time.monotonic() < until:
        if _read(store, key) != found:
            return True
        time.sleep(min(1.0, dead_after / 10))
    return False


def _renew(
    store: LocalStore, leases: Leases, own: Holder, ended: threading.Event, every: float
) -> None:
    number = 0
    while not ended.wait(every):
        number += 1
        for held in leases.held:
            content = _content(own, number)
            try:
                renewed = store.swap(held.key, content, held.content)
            except StoreError as error:
                leases.lost = f"cannot renew {held.key} of {store.url}: {error}"
                return
            if not renewed:
                leases.lost = f"{held.key} of {store.url} was taken over; this run stops"
                return
            held.content = content


def _key(resource: ResourceId) -> str:
    return f"locks/{resource.kind.lower()}-{resource.name}.json"


def _content(own: Holder, number: int) -> bytes:
    return json.dumps({**asdict(own), "renewed": number}).encode()


def _read(store: LocalStore, key: str) -> bytes | None:
    return store.read(key) if store.exists(key) else None


def _holder(content: bytes) -> Holder | None:
    """Return who wrote a lease; None when it was given up."""
    try:
        told = json.loads(content)
        return Holder(**{field.name: told[field.name] for field in fields(Holder)})
    except (ValueError, KeyError, TypeError):
        return None
