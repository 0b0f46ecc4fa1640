"""What the operator may do: all that it does, and nothing else.

The other tests here run it with exactly these rights; that it missed none is asserted at its end.
"""

import re
import subprocess
from collections.abc import Callable

import pytest
from operator_process import OWN_NAMESPACE

pytestmark = pytest.mark.usefixtures("installed")
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
ACCOUNT = f"system:serviceaccount:{OWN_NAMESPACE}:assay-operator"
KINDS = ("datasets", "evaluations", "rewardmodels", "trainingpipelines", "trainingstages")
EVERYBODYS = ("selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
"""Questions about oneself."""
MADE_AND_WATCHED = "pytorchjobs.kubeflow.org rayjobs.ray.io jobs.batch cronjobs.batch"
DEFINITIONS = [f"{kind}.assay.dev" for kind in KINDS]
RIGHTS = {
    **{f"{kind}.assay.dev": {"get", "list", "watch"} for kind in KINDS},
    "trainingstages.assay.dev": {"get", "list", "watch", "create", "update"},
    **{f"{kind}.assay.dev/status": {"patch"} for kind in KINDS},
    **{f"{kind}.assay.dev/finalizers": {"update"} for kind in KINDS},
    **{kind: {"list", "watch", "create", "delete"} for kind in MADE_AND_WATCHED.split()},
    "deployments.apps": {"list", "watch", "create", "delete"},
    "services": {"list", "create", "delete"},
    "configmaps": {"list", "create", "delete"},
    "networkpolicies.networking.k8s.io": {"list", "create", "delete"},
    "pods": {"list", "watch"},
    "events": {"create"},
    **{
        f"customresourcedefinitions.apiextensions.k8s.io {name}": {"get"}
        for name in (*DEFINITIONS, "pytorchjobs.kubeflow.org", "rayjobs.ray.io")
    },
}
LEASE = {"leases.coordination.k8s.io": {"get", "create", "update"}}


def rights(kubectl: Kubectl, namespace: str) -> dict[str, set[str]]:
    """Return verbs by resource, and name where only some may be touched."""
    asked = kubectl("auth", "can-i", "--list", f"--as={ACCOUNT}", "--namespace", namespace)
    assert asked.returncode == 0, asked.stderr
    row = re.compile(r"^(\S+)\s+\[\]\s+\[(.*?)\]\s+\[(.*?)\]$", re.M)
    found: dict[str, set[str]] = {}
    for resource, names, verbs in row.findall(asked.stdout):
        if resource.partition(".")[0] not in EVERYBODYS:
            for name in names.split() or [""]:
                found.setdefault(f"{resource} {name}".strip(), set()).update(verbs.split())
    return found


def test_the_operator_has_the_rights_that_it_uses_and_no_others(
    kubectl: Kubectl, namespace: str
) -> None:
    assert rights(kubectl, namespace) == RIGHTS
    assert rights(kubectl, OWN_NAMESPACE) == {**RIGHTS, **LEASE}
