"""Plays the nodes of a control plane that has none: nodes are Ready, bound pods run and end.

What a pod does is set by rules; without one it runs until it is deleted.
"""

import fnmatch
import functools
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import urllib3
from cluster_api import STRATEGIC, ApiError, ClusterApi, Object
from pod_behaviours import Behaviour, Runs, next_status

TICK_SECONDS = 0.1
HEARTBEAT_SECONDS = 10.0
"""The lease of a node holds for 40 seconds; the control plane gives up on it after 50."""
LEASES = "kube-node-lease"


@dataclass(frozen=True, slots=True)
class FakeNode:
    """A node and what it offers."""

    name: str
    gpus: int = 0
    cpus: int = 64
    memory_gib: int = 512
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()


GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
NODES = (FakeNode("cpu-0"), FakeNode("gpu-0", gpus=8, taints=(GPU_TAINT,)))


@dataclass(frozen=True, slots=True)
class Rule:
    """Which pods behave how. Names and namespaces are patterns such as `sft-*`."""

    behaviour: Behaviour
    namespace: str = "*"
    name: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, pod: Object) -> bool:
        """Say whether a pod is meant."""
        metadata = pod["metadata"]
        labels = metadata.get("labels", {})
        return (
            fnmatch.fnmatchcase(metadata["namespace"], self.namespace)
            and fnmatch.fnmatchcase(metadata["name"], self.name)
            and all(labels.get(key) == value for key, value in self.labels.items())
        )


class FakeKubelet:
    """A context: a thread that looks at all pods ten times a second."""

    def __init__(self, api: ClusterApi, nodes: tuple[FakeNode, ...] = NODES) -> None:
        """Play these nodes with a client that may do everything."""
        self._api = api
        self._nodes = nodes
        self._rules: list[Rule] = []
        self._addresses = itertools.count(2)
        self._deleted: dict[str, float] = {}
        self._beat = 0.0
        self._error: Exception | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="fake-kubelet", daemon=True)

    def __enter__(self) -> "FakeKubelet":
        """Register the nodes, and return when pods can be bound to them."""
        for node in self._nodes:
            self._register(node)
        self._thread.start()
        for node in self._nodes:
            takes_pods = functools.partial(self._takes_pods, node)
            self._api.wait(f"node {node.name} takes pods", takes_pods)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; raise what went wrong meanwhile."""
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def when(
        self,
        behaviour: Behaviour,
        namespace: str = "*",
        name: str = "*",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Let pods behave like this, those that run already too. The latest rule that fits wins."""
        self._rules.insert(0, Rule(behaviour, namespace, name, labels or {}))

    def forget(self, namespace: str) -> None:
        """Drop the rules of one namespace."""
        self._rules[:] = [rule for rule in self._rules if rule.namespace != namespace]

    def _work(self) -> None:
        while not self._end.wait(TICK_SECONDS):
            try:
                self._tick()
                self._error = None
            except (ApiError, OSError, urllib3.exceptions.HTTPError) as error:
                # As a kubelet does, it tries again; what lasts until the end is raised there.
                self._error = error

    def _tick(self) -> None:
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            for node in self._nodes:
                self._renew(node)
            self._beat = time.monotonic()
        # From the server's cache: cheap.
        for pod in self._api.items("v1", "Pod", resourceVersion="0"):
            if pod["spec"].get("nodeName"):
                self._move(pod)

    def _move(self, pod: Object) -> None:
        try:
            if "deletionTimestamp" in pod["metadata"]:
                self._finish_deletion(pod)
                return
            address = pod["status"].get("podIP") or self._next_address()
            status = next_status(pod, self._behaviour(pod), address, time.time())
            if status is not None:
                uid = {"uid": pod["metadata"]["uid"]}
                self._api.patch(pod, {"metadata": uid, "status": status}, "status", STRATEGIC)
        except ApiError as error:
            # Gone meanwhile, or another of that name is there.
            if error.status not in (404, 409):
                raise

    def _finish_deletion(self, pod: Object) -> None:
        behaviour = self._behaviour(pod)
        lingers = behaviour.lingers_seconds if isinstance(behaviour, Runs) else 0.0
        since = self._deleted.setdefault(pod["metadata"]["uid"], time.monotonic())
        if time.monotonic() - since >= lingers:
            self._api.delete(pod, grace_seconds=0)

    def _behaviour(self, pod: Object) -> Behaviour:
        return next((rule.behaviour for rule in self._rules if rule.fits(pod)), Runs())

    def _next_address(self) -> str:
        number = next(self._addresses)
        return f"10.244.{number // 250 % 250}.{number % 250 + 2}"

    def _register(self, node: FakeNode) -> None:
        labels = {
            "kubernetes.io/hostname": node.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **node.labels,
        }
        manifest: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": labels},
            "spec": {"taints": [dict(taint) for taint in node.taints]},
        }
        self._api.create(manifest)
        offered = {
            "cpu": str(node.cpus),
            "memory": f"{node.memory_gib}Gi",
            "ephemeral-storage": "2Ti",
            "pods": "500",
            **({"nvidia.com/gpu": str(node.gpus)} if node.gpus else {}),
        }
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        ready |= {"lastHeartbeatTime": now, "lastTransitionTime": now}
        status = {"capacity": offered, "allocatable": offered, "conditions": [ready]}
        self._api.patch(manifest, {"status": status}, "status", STRATEGIC)
        self._renew(node)

    def _renew(self, node: FakeNode) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node.name, "namespace": LEASES},
            "spec": {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": now},
        }
        self._api.apply(lease, manager="fake-kubelet")

    def _takes_pods(self, node: FakeNode) -> bool:
        taints = self._api.get("v1", "Node", node.name)["spec"].get("taints", ())
        return not any(t["key"].startswith("node.kubernetes.io/") for t in taints)
