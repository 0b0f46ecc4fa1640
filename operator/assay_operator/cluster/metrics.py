"""The operator's own metrics, in Prometheus' format."""

from collections.abc import Iterable
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counts what the operator does; one registry of its own."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "assay_operator_reconcile_seconds",
            "Time of one look at everything, decisions and writes included.",
            registry=self.registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
        )
        self._resources = Gauge(
            "assay_operator_resources",
            "Custom resources by kind and by why they stand where they stand.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self._writes = Counter(
            "assay_operator_api_writes",
            "Writes to the API server.",
            ["verb", "kind"],
            registry=self.registry,
        )
        self._attempts = Counter(
            "assay_operator_attempts",
            "Attempts that failed, by whose fault it was.",
            ["failure"],
            registry=self.registry,
        )
        self._errors = Counter(
            "assay_operator_errors",
            "Looks and writes that did not succeed.",
            ["what"],
            registry=self.registry,
        )
        self._last = Gauge(
            "assay_operator_last_tick_timestamp_seconds",
            "When everything was last looked at with success.",
            registry=self.registry,
        )

    def looked(self, seconds: float, states: Iterable[tuple[str, str]]) -> None:
        """Note a look: how long it took, and kind and reason of each resource."""
        self._seconds.observe(seconds)
        self._last.set(time())
        self._resources.clear()
        for kind, reason in states:
            self._resources.labels(kind, reason).inc()

    def wrote(self, verb: str, kind: str) -> None:
        """Note a write."""
        self._writes.labels(verb, kind).inc()

    def failed_attempt(self, failure: str) -> None:
        """Note an attempt that failed."""
        self._attempts.labels(failure).inc()

    def went_wrong(self, what: str) -> None:
        """Note a look or a write that did not succeed."""
        self._errors.labels(what).inc()
