"""`kubectl apply -k manifests/install` on a real API server, and what the operator may do then."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cluster_api import ApiError, ClusterApi
from control_plane import ControlPlane
from go_programs import HELM, KUBECTL, built

from assay_api.crd.definitions import NAMINGS

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "manifests/install"
SYSTEM, OPERATOR = "assay-system", "assay-operator"
ASSAY = "assay.dev/v1alpha1"


class Right(NamedTuple):
    """One thing that a ServiceAccount may do."""

    namespace: str
    """Where; empty: everywhere."""
    group: str
    resource: str
    name: str
    verb: str


def rights(objects: Iterable[dict[str, Any]]) -> set[Right]:
    """Return everything that the roles allow which are bound to the operator's ServiceAccount."""
    found = [one for one in objects if one]
    roles = {(r["kind"], r["metadata"]["name"]): r for r in found if r["kind"].endswith("Role")}
    bound = [
        one
        for one in found
        if one["kind"].endswith("RoleBinding")
        and {"kind": "ServiceAccount", "name": OPERATOR, "namespace": SYSTEM} in one["subjects"]
    ]
    return {
        Right(one["metadata"].get("namespace", ""), group, resource, name, verb)
        for one in bound
        for rule in roles[one["roleRef"]["kind"], one["roleRef"]["name"]]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def output_of(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="session")
def built_objects() -> list[dict[str, Any]]:
    """What `kubectl apply -k` sends."""
    return list(yaml.safe_load_all(output_of(built(KUBECTL), "kustomize", INSTALL)))


@pytest.fixture(scope="session")
def operator(control_plane: ControlPlane, assay_crds: Any) -> ClusterApi:
    """It was applied, without a warning (Pod Security would warn); the operator's own client."""
    access = ("--kubeconfig", control_plane.kubeconfig)
    output_of(built(KUBECTL), "apply", "--server-side", "--force-conflicts", "-k", INSTALL, *access)
    control_plane.wait_for_namespace(SYSTEM)
    return control_plane.client_of(OPERATOR, SYSTEM)


def test_the_operators_pod_is_admitted(control_plane: ControlPlane, operator: ClusterApi) -> None:
    (pod,) = control_plane.admin.wait(
        "the operator's pod", lambda: control_plane.admin.items("v1", "Pod", SYSTEM)
    )
    assert pod["spec"]["serviceAccountName"] == OPERATOR
    (container,) = pod["spec"]["containers"]
    assert container["args"][0] == "operator"


def test_the_operator_may_do_its_work(
    control_plane: ControlPlane, operator: ClusterApi, namespace: str
) -> None:
    for kind in NAMINGS:
        # Of all namespaces; other tests may have some.
        operator.items(ASSAY, kind)
    stage = {
        "apiVersion": ASSAY,
        "kind": "TrainingStage",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": {
            "model": {"uri": "a"},
            "dataset": "clips",
            "sft": {"task": "Describe", "steps": 1},
        },
    }
    made = operator.create(stage)
    operator.patch(made, {"status": {"attempt": 1}}, subresource="status")
    owner = {
        **{"apiVersion": ASSAY, "kind": "TrainingStage", "name": "one"},
        **{"uid": made["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True},
    }
    orders = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "orders", "namespace": namespace, "ownerReferences": [owner]},
    }
    operator.delete(operator.create(orders))
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "of-this-test", "namespace": SYSTEM},
    }
    operator.create(lease)
    crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert operator.get(*crd, "datasets.assay.dev")["kind"] == crd[1]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "Secret"),
        ("v1", "Namespace"),
        ("v1", "Node"),
        ("v1", "ServiceAccount"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("coordination.k8s.io/v1", "Lease"),
    ],
)
def test_the_operator_may_not_look_at_the_rest(
    version: str, kind: str, operator: ClusterApi
) -> None:
    with pytest.raises(ApiError, match="403"):
        operator.items(version, kind)


@pytest.mark.parametrize("kind", ["Dataset", "Evaluation", "RewardModel", "TrainingPipeline"])
def test_the_operator_makes_no_resources_but_stages(
    kind: str, operator: ClusterApi, namespace: str
) -> None:
    wanted = {
        "apiVersion": ASSAY,
        "kind": kind,
        "metadata": {"name": "one", "namespace": namespace},
    }
    with pytest.raises(ApiError, match="403"):
        operator.create(wanted)
    with pytest.raises(ApiError, match="403"):
        operator.delete(wanted)


def test_no_right_is_a_wildcard_or_touches_secrets(built_objects: list[dict[str, Any]]) -> None:
    found = rights(built_objects)
    assert found
    assert not [one for one in found if "*" in one or one.resource.startswith("secrets")]
    assert not [one for one in found if one.verb in ("deletecollection", "escalate", "bind")]
    assert {one.verb for one in found if one.resource.startswith("pods")} == {"list", "watch"}


def test_helm_gives_the_same_rights(built_objects: list[dict[str, Any]], tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *(str(built(HELM)), "template", "assay", str(ROOT / "charts/assay")),
            *("--namespace", SYSTEM, "--kube-version", "1.36.2"),
        ],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    assert rights(yaml.safe_load_all(made.stdout)) == rights(built_objects)
