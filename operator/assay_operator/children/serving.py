"""Serving: a reward model's Deployment and Service."""

import math
import re

from assay_api.hub import without_revision
from assay_api.platform import Platform
from assay_operator.children.owner import (
    JUDGE_PORT,
    LABEL_ROLE,
    Manifest,
    Owner,
    child_name,
    metadata,
    selector,
)
from assay_operator.children.placement import Site, single_size, site
from assay_operator.children.pods import Pod, pod_template
from assay_operator.children.stages import job_metadata
from assay_operator.commands import PYTHON, SERVER_ENV, serve_arguments
from assay_operator.decision import Role, Workload
from assay_operator.observed import ServeOrders

_PROBE_SECONDS = 10
_SECONDS_PER_BILLION = 30
"""Time to load a billion parameters, out of a store that others use too."""
_CACHE_SHARE = 1 / 8
"""Of a pod's memory on CPUs, for keys and values; a GPU's is shared out by vLLM itself."""
_LONGEST_START_SECONDS = 7200
_IMAGE_PULL_SECONDS = 1800
"""Time that a node has to pull the image, before the server's own time begins."""


def build_judge(workload: Workload, owner: Owner, platform: Platform) -> tuple[Manifest, ...]:
    """Return the Service and the Deployment of a reward model.

    Raises:
        InvalidInput: there is no such pool.
    """
    orders = workload.orders
    assert isinstance(orders, ServeOrders), "a server is told what to serve"
    where = site(workload, platform, "spec.pool", orders.pool)
    budget = start_budget_seconds(orders)
    pod = _server(orders, where, platform, budget)
    name, chosen = child_name(workload), selector(workload.owner)
    pods = {"matchLabels": {**chosen, LABEL_ROLE: Role.SERVE.value}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(workload, owner, name),
        "spec": {
            "type": "ClusterIP",
            "selector": pods["matchLabels"],
            "ports": [{"name": "http", "port": JUDGE_PORT, "targetPort": "http"}],
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": job_metadata(workload, owner, where),
        "spec": {
            "replicas": 1,
            "selector": pods,
            # Beside a server that has the GPU, its successor could not start.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": budget + _IMAGE_PULL_SECONDS,
            "template": pod_template(workload, platform, pod),
        },
    }
    return service, deployment


def _server(orders: ServeOrders, where: Site, platform: Platform, budget_seconds: int) -> Pod:
    size = single_size(where)
    arguments = serve_arguments(
        orders,
        host="0.0.0.0",
        port=JUDGE_PORT,
        on_gpu=where.gpus > 0,
        cache_bytes=None if where.gpus else int(size.memory_gib * 2**30 * _CACHE_SHARE),
    )
    return Pod(
        component="judge",
        container="server",
        image=platform.images.trainer,
        pool=where.pool,
        size=size,
        command=(PYTHON, *arguments),
        env=SERVER_ENV,
        ports={"http": JUDGE_PORT},
        container_extra=_probes(budget_seconds),
    )


def start_budget_seconds(orders: ServeOrders) -> int:
    """Return the time that a server has to become ready: more for a model that says it is large.

    Example:
        >>> orders = ServeOrders(name="judge", model="s3://m/Qwen2.5-VL-72B-Instruct", num_frames=4,
        ...     max_model_length_tokens=8192, precision="BFloat16", port=0,
        ...     start_timeout_seconds=600)
        >>> start_budget_seconds(orders)
        2160
    """
    size = re.search(
        r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])",
        without_revision(orders.model).rsplit("/", 1)[-1],
        re.I,
    )
    by_size = float(size[1]) * _SECONDS_PER_BILLION if size else 0.0
    return math.ceil(max(orders.start_timeout_seconds, min(by_size, _LONGEST_START_SECONDS)))


def _probes(budget_seconds: int) -> Manifest:
    health = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5}
    return {
        "startupProbe": {
            **health,
            "periodSeconds": _PROBE_SECONDS,
            "failureThreshold": max(1, math.ceil(budget_seconds / _PROBE_SECONDS)),
        },
        "readinessProbe": {**health, "periodSeconds": _PROBE_SECONDS},
        # Long: under load an answer may take its time; a server that hangs answers never.
        "livenessProbe": {**health, "periodSeconds": 30, "failureThreshold": 10},
    }
