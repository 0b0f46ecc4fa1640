"""Serves this process's metrics at /metrics, in a pod; on one machine nothing listens."""

import logging
import os
from collections.abc import Iterator, Mapping

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.registry import Collector

from assay_api.metrics_ports import NUM_PORTS, PORT_VARIABLE

_LOG = logging.getLogger(__name__)


class Labelled(Collector):
    """Everything that this process exports, with labels that say whose process it is."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Add these labels to every sample."""
        self._labels = dict(labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the process's registry."""
        for family in REGISTRY.collect():
            family.samples = [
                sample._replace(labels={**self._labels, **sample.labels})
                for sample in family.samples
            ]
            yield family


def serve_metrics(labels: Mapping[str, str]) -> int | None:
    """Answer /metrics in a thread, at the first free port from ASSAY_METRICS_PORT on.

    Several processes of a pod have a port each. Metrics are no reason to end a training: where
    there is no port, the log says so, and that is all.

    Args:
        labels: what says whose process this is.

    Returns:
        The port; None if nothing listens.
    """
    asked = os.environ.get(PORT_VARIABLE, "")
    if not asked:
        return None
    if not asked.isdecimal():
        _LOG.warning("no metrics are served: %s is %r, which is no port", PORT_VARIABLE, asked)
        return None
    # Each counter would have a second series with the time of its making.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(Labelled(labels))
    first = int(asked)
    for port in range(first, first + NUM_PORTS):
        try:
            start_http_server(port, registry=registry)
        except (OSError, OverflowError) as error:
            problem = error
        else:
            return port
    _LOG.warning("no metrics are served: ports %d to %d: %s", first, port, problem)
    return None
