"""A real API server takes every child, and Pod Security on it lets every pod in."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from cluster_api import ApiError
from control_plane import ControlPlane
from pod_security import baseline_violations, restricted_violations
from third_party import third_party_crds

from assay_operator.children.owner import Manifest
from assay_operator.children.rules import pod_templates

Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """The control plane, with the resources of the training-operator and KubeRay."""
    control_plane.apply_crds(third_party_crds())
    return control_plane


@pytest.fixture(scope="module")
def restricted_namespace(cluster: ControlPlane) -> Iterator[str]:
    yield from _namespace(cluster, "restricted")


@pytest.fixture(scope="module")
def baseline_namespace(cluster: ControlPlane) -> Iterator[str]:
    yield from _namespace(cluster, "baseline")


def _namespace(cluster: ControlPlane, level: str) -> Iterator[str]:
    name = cluster.new_namespace(labels={"pod-security.kubernetes.io/enforce": level})
    # Pods may name them; admission looks whether they are there.
    cluster.admin.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "assay-workload", "namespace": name},
        }
    )
    for priority in ("training", "urgent"):
        cluster.admin.apply(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": priority},
                "value": 1000,
            }
        )
    yield name
    cluster.admin.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def in_namespace(manifest: Manifest, name: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": name}}


def test_every_child_is_taken_as_it_is(
    all_children: list[Manifest], cluster: ControlPlane, restricted_namespace: str
) -> None:
    for manifest in all_children:
        made = cluster.admin.create(in_namespace(manifest, restricted_namespace), dryRun="All")
        missing = lost(manifest["spec"], made["spec"]) if "spec" in manifest else []
        assert missing == [], f"{manifest['kind']}/{manifest['metadata']['name']}"


def lost(given: Any, made: Any, path: str = "spec") -> list[str]:
    """Return the paths of what was given and is not there any more: pruned by a schema."""
    if isinstance(given, dict):
        if not isinstance(made, dict):
            return [path]
        # The server leaves out what is empty.
        pairs = [(f"{path}.{key}", v, made.get(key)) for key, v in given.items() if v]
    elif isinstance(given, list):
        if not isinstance(made, list) or len(given) != len(made):
            return [path]
        pairs = [
            (f"{path}[{i}]", one, other)
            for i, (one, other) in enumerate(zip(given, made, strict=True))
        ]
    else:
        return [path] if made is None else []
    return [found for where, one, other in pairs for found in lost(one, other, where)]


def pods(manifest: Manifest, namespace: str) -> list[Manifest]:
    """Return a pod of each template, as the controllers make them."""
    found = []
    for number, (_, template) in enumerate(pod_templates(manifest)):
        metadata = {**template["metadata"], "name": f"pod-{number}", "namespace": namespace}
        found.append({**template, "apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    return found


def test_pod_security_on_a_server_decides_as_the_check_does(
    all_children: list[Manifest],
    cluster: ControlPlane,
    restricted_namespace: str,
    baseline_namespace: str,
) -> None:
    count = 0
    for manifest in all_children:
        for level, namespace, violations in (
            ("restricted", restricted_namespace, restricted_violations),
            ("baseline", baseline_namespace, baseline_violations),
        ):
            for pod in pods(manifest, namespace):
                count += 1
                expected = bool(violations(pod))
                refused = is_refused(cluster, pod)
                assert refused is expected, f"{level}: {manifest['metadata']['name']}"
    assert count > 50


def is_refused(cluster: ControlPlane, pod: Manifest) -> bool:
    try:
        cluster.admin.create(pod, dryRun="All")
    except ApiError as error:
        assert "violates PodSecurity" in error.message, error.message
        return True
    return False


def test_a_field_that_a_server_does_not_know_is_an_error(
    rendered: Render, cluster: ControlPlane, restricted_namespace: str
) -> None:
    for what, kind in (("rl", "RayJob"), ("sft", "PyTorchJob")):
        found = deepcopy(next(m for m in rendered(what) if m["kind"] == kind))
        found["spec"]["entrypiont"] = "x"
        with pytest.raises(ApiError, match="entrypiont"):
            cluster.admin.create(in_namespace(found, restricted_namespace), dryRun="All")
