"""The operator's process: what runs in it, and how it ends."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from assay_api.platform import Platform
from assay_operator.cluster.act import Writer
from assay_operator.cluster.api import KubernetesApi
from assay_operator.cluster.connection import connect
from assay_operator.cluster.health import Heartbeat, serve_health, serve_metrics
from assay_operator.cluster.lease import Lease, keep_renewing
from assay_operator.cluster.loop import Operator, Wake, run
from assay_operator.cluster.metrics import Metrics
from assay_operator.cluster.skew import skew
from assay_operator.cluster.wake import watch
from assay_operator.records import Writable

logger = logging.getLogger(__name__)

THREADS = 8
"""Resources of one pass that are written at once."""
LEASE_NAME = "assay-operator"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the process was started."""

    platform: Platform
    """What the installation offers."""
    namespaces: tuple[str, ...]
    """Namespaces it looks at; none: all."""
    own_namespace: str
    """Where it runs itself, and has its Lease."""
    metrics_port: int
    """Port of `/metrics`."""
    health_port: int
    """Port of `/healthz`."""


def run_operator(
    settings: Settings,
    store_of: Callable[[str], Writable],
    schema_digests: Mapping[str, str],
) -> None:
    """Run until a signal ends the process.

    Args:
        settings: how it was started.
        store_of: opens the store of a namespace.
        schema_digests: SHA-256 of the schema of each of our kinds.

    Raises:
        InvalidInput: there is no cluster to talk to.
    """
    api = KubernetesApi(connect(THREADS + 2))
    for problem in skew(api, schema_digests):
        logger.error("skew: %s", problem)
    metrics, heartbeat, stop = Metrics(), Heartbeat(), threading.Event()
    lease = Lease(api, settings.own_namespace, LEASE_NAME, _identity())
    serve_health(heartbeat, settings.health_port)
    serve_metrics(metrics.registry, settings.metrics_port)
    wake = Wake()
    with ThreadPoolExecutor(THREADS) as executor:
        writer = Writer(api, metrics, time.time, lease.held)
        operator = Operator(
            api,
            writer,
            settings.platform,
            store_of,
            executor,
            metrics,
            time.time,
            settings.namespaces,
        )
        threads = [
            threading.Thread(target=keep_renewing, args=(lease, stop), name="lease"),
            threading.Thread(target=run, args=(operator, wake, stop, heartbeat.beat), name="loop"),
        ]
        for thread in threads:
            thread.start()
        try:
            watch(wake, settings.namespaces)
        finally:
            stop.set()
            wake.poke()
            for thread in threads:
                thread.join()


def _identity() -> str:
    """Return who asks for the Lease.

    A pod's name is its own: a container that starts anew in it knows that the one before is dead,
    and need not wait for its Lease to run out. Elsewhere two processes may share a machine's name.
    """
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def own_namespace(given: str | None) -> str:
    """Return the namespace that the process runs in: given, or the pod's own, or default."""
    inside = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    if given:
        return given
    return inside.read_text().strip() if inside.is_file() else "default"


def namespace_url(store_url: str, namespace: str) -> str:
    """Return the URL of a namespace's store.

    Example:
        >>> namespace_url("s3://assay/main/", "team-a")
        's3://assay/main/team-a'
    """
    return f"{store_url.rstrip('/')}/{namespace}"
