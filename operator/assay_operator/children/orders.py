"""Orders: what a container is told, in a ConfigMap that never changes."""

import hashlib
from typing import Any

from assay_operator.children.owner import Manifest, Owner, child_name, metadata
from assay_operator.decision import Workload

FOLDER = "/etc/assay/orders"
"""Where containers see them."""
FILE = "orders.json"
"""The ConfigMap's key, and the file's name."""
PATH = f"{FOLDER}/{FILE}"
"""The file, as commands name it."""

_NOT_READ: dict[str, Any] = {"status": True, "metadata": {"uid"}}
_NOT_ORDERED: dict[str, dict[str, Any]] = {
    # A stage's own identity is that of requests to stop.
    "stage": {"status": True},
    "dataset": _NOT_READ,
    "evaluation": _NOT_READ,
}
"""What is, in place of what is wanted: it changes all the time, and no container reads it."""


def orders_name(workload: Workload) -> str:
    """Return the name of the ConfigMap: other orders are another one."""
    return f"{child_name(workload)}-{hashlib.sha256(_text(workload).encode()).hexdigest()[:8]}"


def orders_config(workload: Workload, owner: Owner) -> Manifest:
    """Return the ConfigMap with a workload's orders."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(workload, owner, orders_name(workload)),
        "immutable": True,
        "data": {FILE: _text(workload)},
    }


def _text(workload: Workload) -> str:
    orders = workload.orders
    # A dataset's URL is called `dataset` too, where a dataset is not made.
    nested = {
        key: fields
        for key, fields in _NOT_ORDERED.items()
        if hasattr(getattr(orders, key, None), "status")
    }
    return orders.model_dump_json(by_alias=True, exclude=nested, indent=1)
