"""The training-operator and KubeRay's operator as pods, from the manifests of their modules.

What is changed in them is what `docs/cluster.md` asks of a platform engineer: the image's name,
and for the training-operator its scheme and the init container of workers.
"""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from cluster_api import Object
from go_programs import KUBECTL, KUBERAY, TRAINING_OPERATOR, built, source_folder
from node_images import PAUSE_IMAGE, REGISTRY
from node_network import run
from node_settings import FOLDER
from one_node_cluster import OneNodeCluster
from third_party import TRAINING_NAMESPACE, init_container, third_party_crds

KUBERAY_NAMESPACE = "kuberay-system"
_READY_SECONDS = 120.0
_AWAIT_MASTER = '[/await-name, "{{.MasterAddr}}"]'
_RESOURCES = "{requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}"


def install_addons(cluster: OneNodeCluster) -> None:
    """Apply both operators, and return when their controllers run and their webhooks answer."""
    plane = cluster.control_plane
    plane.apply_crds(third_party_crds())
    for manifests in (_training_operator(), _kuberay()):
        # Their definitions are there, in the version that is stored.
        kept = [m for m in manifests if m["kind"] != "CustomResourceDefinition"]
        for manifest in sorted(kept, key=lambda m: m["kind"] != "Namespace"):
            plane.admin.apply(manifest)


def wait_for_addons(cluster: OneNodeCluster) -> None:
    """Return when both operators are ready."""
    admin = cluster.control_plane.admin
    for name, namespace in (
        ("training-operator", TRAINING_NAMESPACE),
        ("kuberay-operator", KUBERAY_NAMESPACE),
    ):
        found = functools.partial(admin.get, "apps/v1", "Deployment", name, namespace)
        admin.wait(
            f"{name} is ready",
            lambda found=found: found().get("status", {}).get("readyReplicas") == 1,
            seconds=_READY_SECONDS,
            shown=functools.partial(admin.items, "v1", "Pod", namespace),
        )


def _training_operator() -> list[Object]:
    arguments = [
        "--enable-scheme=pytorchjob",
        f"--pytorch-init-container-image={PAUSE_IMAGE}",
        "--pytorch-init-container-template-file=/etc/training-operator/init-container.yaml",
    ]
    template = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "init-container", "namespace": TRAINING_NAMESPACE},
        "data": {"init-container.yaml": init_container(_AWAIT_MASTER, _RESOURCES)},
    }
    mount = {"name": "init-container", "mountPath": "/etc/training-operator", "readOnly": True}
    volume = {"name": "init-container", "configMap": {"name": "init-container"}}
    patches = [
        _add("/spec/template/spec/containers/0/args", arguments),
        _add("/spec/template/spec/containers/0/volumeMounts/-", mount),
        _add("/spec/template/spec/volumes/-", volume),
    ]
    folder = source_folder(TRAINING_OPERATOR) / "manifests/overlays/standalone"
    return [*_kustomized("training-operator", folder, patches), template]


def _kuberay() -> list[Object]:
    folder = source_folder(KUBERAY) / "config/default"
    # A tenth of a core, as it is there, makes it slow to start where everything starts at once.
    patches = [_add("/spec/template/spec/containers/0/resources/limits/cpu", "1")]
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": KUBERAY_NAMESPACE},
    }
    return [
        namespace,
        *_kustomized("kuberay-operator", folder, patches, namespace=KUBERAY_NAMESPACE),
    ]


def _kustomized(
    name: str, base: Path, patches: Sequence[Object], namespace: str | None = None
) -> list[Object]:
    """Return the manifests of a folder with another image and changes to its Deployment."""
    folder = FOLDER / name
    folder.mkdir()
    image = _add("/spec/template/spec/containers/0/image", f"{REGISTRY}/{name}:tests")
    patch = json.dumps([image, *patches])
    asked = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(base, folder)],
        "patches": [{"target": {"kind": "Deployment"}, "patch": patch}],
        **({"namespace": namespace} if namespace else {}),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(asked))
    text = run(built(KUBECTL), "kustomize", "--load-restrictor", "LoadRestrictionsNone", folder)
    return [m for m in yaml.load_all(text, yaml.CSafeLoader) if m]


def _add(path: str, value: object) -> Object:
    return {"op": "add", "path": path, "value": value}
