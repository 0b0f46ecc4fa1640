"""One writer at a time: a Lease in the operator's own namespace, by its own clock only.

A holder writes only while it knows that nobody else can have taken the Lease: it counts from the
moment before it renewed, and stops a margin before the others may take over.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from assay_operator.children.owner import Manifest
from assay_operator.cluster.api import Api, ApiError, Conflict, Gone
from assay_operator.cluster.kinds import LEASE

logger = logging.getLogger(__name__)

DURATION_SECONDS = 15
"""A Lease that was not renewed for this long may be taken over."""
MARGIN_SECONDS = 5.0
"""A holder stops writing so long before that."""
RENEW_SECONDS = 3.0


class Lease:
    """The right to write, as long as it is renewed."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take where the Lease is, and who asks for it.

        Args:
            api: the API server.
            namespace: the operator's own.
            name: the Lease's name.
            identity: unique for this process.
            clock: monotonic seconds.
        """
        self._api, self._namespace, self._name = api, namespace, name
        self._identity, self._clock = identity, clock
        self._renewed: float | None = None
        self._seen: tuple[str, float] = ("", 0.0)

    def held(self) -> bool:
        """Tell whether this process may write now."""
        if self._renewed is None:
            return False
        return self._clock() - self._renewed < DURATION_SECONDS - MARGIN_SECONDS

    def renew(self) -> bool:
        """Take the Lease, or keep it; tell whether it is ours. One call or two, never waits."""
        began = self._clock()
        try:
            self._renew(began)
        except Conflict:
            self._renewed = None
        except ApiError as error:
            logger.warning("lease not renewed: %s", error)
        return self.held()

    def _renew(self, began: float) -> None:
        try:
            there = self._api.get(LEASE, self._namespace, self._name)
        except Gone:
            self._api.create(self._manifest(None))
            self._renewed = began
            return
        # By when it was seen, not by when it was asked for: it may have been renewed in between.
        if self._is_taken(there, began, self._clock()):
            self._renewed = None
            return
        self._api.replace(LEASE, self._manifest(there))
        self._renewed = began

    def _is_taken(self, there: Manifest, asked: float, answered: float) -> bool:
        """Tell whether somebody else holds it: it changed within its duration, by our clock."""
        spec = there.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return False
        version = there["metadata"]["resourceVersion"]
        if self._seen[0] != version:
            self._seen = (version, answered)
        return asked - self._seen[1] < int(spec.get("leaseDurationSeconds") or DURATION_SECONDS)

    def _manifest(self, there: Manifest | None) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (there or {}).get("spec") or {}
        changed = before.get("holderIdentity") != self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now,
            "acquireTime": now if changed else before.get("acquireTime", now),
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + int(changed),
        }
        metadata = there["metadata"] if there else {"name": self._name}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {**metadata, "namespace": self._namespace},
            "spec": spec,
        }

    def release(self) -> None:
        """Let the next one have it at once."""
        if not self.held():
            return
        # Before the next one can have it, this one has stopped writing.
        self._renewed = None
        try:
            there = self._api.get(LEASE, self._namespace, self._name)
            if there["spec"].get("holderIdentity") == self._identity:
                there["spec"]["holderIdentity"] = ""
                self._api.replace(LEASE, there)
        except ApiError as error:
            logger.info("lease not released: %s", error)


def keep_renewing(lease: Lease, stop: threading.Event) -> None:
    """Renew the Lease until told to stop; who loses it stops writing, and asks on."""
    was_held = False
    while not stop.is_set():
        held = lease.renew()
        if held != was_held:
            logger.info("this process may write" if held else "another process may write")
        was_held = held
        stop.wait(RENEW_SECONDS)
    lease.release()
