"""NetworkPolicy: what a workload's pods may talk to; everything else is refused."""

from urllib.parse import urlsplit

from assay_api.layout import ResourceId
from assay_api.metrics_ports import FIRST_PORT, NUM_PORTS
from assay_api.platform import Platform
from assay_api.resolved import ResolvedStageJob
from assay_operator.children.hub import hub_of
from assay_operator.children.owner import (
    JUDGE_PORT,
    LABEL_KIND,
    RAY_METRICS_PORT,
    Manifest,
    Owner,
    child_name,
    judge_name,
    metadata,
    selector,
)
from assay_operator.decision import Role, Workload

DASHBOARD_PORT = 8265
"""Port at which KubeRay asks a Ray head how its job is."""
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
"""Labels of Prometheus, by its operator and by its chart alike."""
HUB_URL = "https://huggingface.co"
"""The Hub itself, where no mirror is named."""
KUBERAY = {"app.kubernetes.io/component": "kuberay-operator"}
"""Labels of KubeRay's operator, by its chart and by its manifests alike."""


def network_policy(workload: Workload, owner: Owner, platform: Platform) -> Manifest:
    """Return the NetworkPolicy of a resource's pods, of this attempt and of others.

    In: each other, whoever collects metrics, KubeRay at a Ray head, stages at a judge. Out: each
    other, DNS, the store, the Hub for a model of it, the judges that a stage asks, and the trackers
    that it tells.
    """
    own = {"podSelector": {"matchLabels": selector(workload.owner)}}
    ingress: list[Manifest] = [
        {"from": [own]},
        {"from": [{"namespaceSelector": {}}], "ports": _metrics(workload)},
    ]
    if _on_ray(workload):
        kuberay = {"namespaceSelector": {}, "podSelector": {"matchLabels": KUBERAY}}
        ingress.append({"from": [kuberay], "ports": [_tcp(DASHBOARD_PORT)]})
    if workload.role is Role.SERVE:
        stages = {"podSelector": {"matchLabels": {LABEL_KIND: "TrainingStage"}}}
        ingress.append({"from": [stages], "ports": [_tcp(JUDGE_PORT)]})
        # vLLM answers about its metrics where it answers everything else: not for any pod.
        prometheus = {"namespaceSelector": {}, "podSelector": {"matchLabels": PROMETHEUS}}
        ingress.append({"from": [prometheus], "ports": [_tcp(JUDGE_PORT)]})
    dns = {"ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]}
    store = {"ports": [_tcp(platform.store.port)]}
    hub = hub_of(workload, platform)
    to_hub = [_to(hub.endpoint or HUB_URL)] if hub else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(workload, owner, child_name(workload)),
        "spec": {
            "podSelector": own["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [
                {"to": [own]},
                dns,
                store,
                *to_hub,
                *_to_judges(workload),
                *_to_trackers(workload),
            ],
        },
    }


def _metrics(workload: Workload) -> list[Manifest]:
    """Return the ports of a workload's processes, and of Ray's own metrics beside them."""
    own = {**_tcp(FIRST_PORT), "endPort": FIRST_PORT + NUM_PORTS - 1}
    return [own, _tcp(RAY_METRICS_PORT)] if _on_ray(workload) else [own]


def _on_ray(workload: Workload) -> bool:
    orders = workload.orders
    trains = isinstance(orders, ResolvedStageJob) and orders.stage.spec.rl is not None
    return trains or workload.role is Role.COLLECT


def _to_judges(workload: Workload) -> list[Manifest]:
    """Return the rules for a stage's judges: those of the namespace, and those elsewhere."""
    if not isinstance(workload.orders, ResolvedStageJob):
        return []
    rules: list[Manifest] = []
    for judge in workload.orders.judges:
        url = urlsplit(judge.url)
        if (url.hostname or "").split(".")[0] == judge_name(judge.name):
            served = selector(ResourceId("RewardModel", judge.name))
            to = [{"podSelector": {"matchLabels": served}}]
            rules.append({"to": to, "ports": [_tcp(JUDGE_PORT)]})
        else:
            rules.append(_to(judge.url))
    return rules


def _to_trackers(workload: Workload) -> list[Manifest]:
    """Return the rules for a stage's trackers, wherever they are."""
    if not isinstance(workload.orders, ResolvedStageJob):
        return []
    urls = (tracker.url for tracker in workload.orders.stage.spec.tracking)
    return [_to(url) for url in urls if url]


def _to(address: str) -> Manifest:
    """Return the rule for a server elsewhere: its port, at any address."""
    url = urlsplit(address)
    return {"ports": [_tcp(url.port or (443 if url.scheme == "https" else 80))]}


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
