"""Every metric that a program of ours exports, by the names that Prometheus sees."""

import re

from prometheus_client import REGISTRY, CollectorRegistry

import assay_data.exported
from assay_operator.cluster.metrics import Metrics
from assay_trainer.exported import RECORDED, STEP_NUMBERS, exported_name
from assay_trainer.verifier import served_metrics

assert assay_data.exported.DROPPED, "registers its metrics when it is loaded"
assert served_metrics.PAIRS, "likewise"


def of_registry(registry: CollectorRegistry) -> dict[str, str]:
    """Return the type of each metric of ours, by name."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in registry.collect()
        if family.name.startswith("assay_")
    }


def of_workloads() -> dict[str, str]:
    """Return the types of what the processes of workloads export, but for steps' numbers."""
    # Tests before this one may have trained in this process.
    of_steps = {family.name for family in STEP_NUMBERS.collect()}
    found = of_registry(REGISTRY)
    return {name: kind for name, kind in found.items() if name not in of_steps}


def of_the_operator() -> dict[str, str]:
    """Return the types of what the operator exports."""
    return of_registry(Metrics().registry)


def is_recorded(metric: str) -> bool:
    """Tell whether a metric is a number that training loops record."""
    patterns = [
        exported_name(name.replace("*", "x-x")).replace("x_x", "[a-z0-9_]+") for name in RECORDED
    ]
    return any(re.fullmatch(pattern, metric) for pattern in patterns)
