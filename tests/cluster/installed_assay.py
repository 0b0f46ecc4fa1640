"""Assay on the one-node cluster, installed as its users do: `helm install` with Helm values."""

import functools
import os
from pathlib import Path

import yaml
from cluster_api import Object
from go_programs import HELM, built
from node_images import PROJECT, REGISTRY
from node_network import run
from node_settings import FOLDER
from one_node_cluster import OneNodeCluster

NAMESPACE = "assay-system"
RELEASE = "assay"
CHART = PROJECT / "charts/assay"
RECIPE, SMALL, STRANGER = "recipe", "small", "stranger"
"""Namespaces: for the whole recipe, for small stages that meet faults, and one without rights."""
VALUES: dict[str, object] = {
    "store": {"secretNamespaces": [RECIPE, SMALL]},
    # Nodes that there are none of.
    "nodePools": {"huge": {"cpus": 64, "memoryGib": 512}},
}
"""Beside values-local.yaml."""
_USER = 10001
_READY_SECONDS = 120.0
_VOLUME = FOLDER / "object-store"


def values(tag: str, **changes: object) -> Object:
    """Return the values beside values-local.yaml: images of this node only, and its store."""
    return {
        "image": {"registry": REGISTRY, "tag": tag, "pullPolicy": "Never"},
        "minio": {"image": {"registry": REGISTRY, "repository": "minio", "tag": "tests"}},
        **changes,
    }


def install_assay(cluster: OneNodeCluster, tag: str, **changes: object) -> None:
    """Install the chart, or upgrade it, with a disk of this machine; `wait_for_assay` waits."""
    _give_disk(cluster)
    asked = FOLDER / "values.yaml"
    asked.write_text(yaml.safe_dump(values(tag, **changes)))
    helm(
        cluster,
        *("upgrade", "--install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace"),
        *("--values", CHART / "values-local.yaml", "--values", asked),
    )


def wait_for_assay(cluster: OneNodeCluster) -> None:
    """Return when the operator and the object store are ready."""
    admin = cluster.control_plane.admin
    for kind, name in (("StatefulSet", "assay-minio"), ("Deployment", "assay-operator")):
        found = functools.partial(admin.get, "apps/v1", kind, name, NAMESPACE)
        admin.wait(
            f"{kind} {name} is ready",
            lambda found=found: _is_ready(found()),
            seconds=_READY_SECONDS,
            shown=functools.partial(admin.items, "v1", "Pod", NAMESPACE),
        )


def helm(cluster: OneNodeCluster, *arguments: str | Path) -> str:
    """Call helm."""
    home = FOLDER / "helm"
    folders = [f"{name}={home}" for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME")]
    kubeconfig = cluster.control_plane.kubeconfig
    return run("env", *folders, built(HELM), "--kubeconfig", kubeconfig, *arguments)


def _is_ready(workload: Object) -> bool:
    status = workload.get("status", {})
    return (
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and status.get("readyReplicas") == status.get("updatedReplicas") == 1
    )


def _give_disk(cluster: OneNodeCluster) -> None:
    """Offer a folder of this machine as the disk that MinIO claims."""
    _VOLUME.mkdir(exist_ok=True)
    os.chown(_VOLUME, _USER, _USER)
    disk = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "object-store"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(_VOLUME), "type": "Directory"},
        },
    }
    cluster.control_plane.admin.apply(disk)
