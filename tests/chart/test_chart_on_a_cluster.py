"""The chart on a real API server: install, upgrade, uninstall, and what the operator may do."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cluster_api import ApiError, Object
from control_plane import ControlPlane
from rendered_objects import Helm, Render, bound_rights, pod_templates

NAMESPACE = "assay-system"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
API = "assay.dev/v1alpha1"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

Install = Callable[..., None]


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster of its own: a release owns its definitions, and others' tests have theirs."""
    with ControlPlane(tmp_path_factory.mktemp("cluster-of-the-chart")) as running:
        namespace = {"name": NAMESPACE, "labels": RESTRICTED}
        running.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
        running.wait_for_namespace(NAMESPACE)
        yield running


@pytest.fixture
def cluster_helm(helm: Helm, control_plane: ControlPlane) -> Helm:
    """Helm with the rights of an administrator."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        where = ("--kubeconfig", control_plane.kubeconfig, "--namespace", NAMESPACE)
        done = helm(*where, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def install(cluster_helm: Helm, chart: Path) -> Iterator[Install]:
    """Install the chart as `assay` into assay-system, until the test's end."""

    def run(*arguments: str | Path, source: Path = chart) -> None:
        # Definitions that an uninstall left are taken over, as they are for users.
        cluster_helm("install", "assay", source, *arguments)

    yield run
    cluster_helm("uninstall", "assay", "--ignore-not-found", "--wait")


def definitions(control_plane: ControlPlane) -> list[Object]:
    found = control_plane.admin.items("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    return [one for one in found if one["spec"]["group"] == "assay.dev"]


def credentials(control_plane: ControlPlane, namespace: str = NAMESPACE) -> dict[str, str]:
    secret = control_plane.admin.get("v1", "Secret", "assay-store", namespace)
    assert set(secret["data"]) == set(KEYS)
    return dict(secret["data"])


def evaluation(name: str, **spec: object) -> Object:
    whole = {"model": {"fromStage": "advanced"}, "dataset": "held-out", **spec}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": API, "kind": "Evaluation", "metadata": metadata, "spec": whole}


def older(chart: Path, folder: Path) -> Path:
    """Return a copy of the chart as a version before would be: its Evaluation knows no seed."""
    copy = folder / "assay"
    shutil.copytree(chart, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(
        yaml.safe_dump(about | {"version": "0.0.1", "appVersion": "0.0.1"})
    )
    path = copy / "files/crds/evaluations.yaml"
    definition = yaml.safe_load(path.read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["seed"]
    # Rules over the whole resource may speak of it.
    schema.pop("x-kubernetes-validations", None)
    path.write_text(yaml.safe_dump(definition))
    return copy


def created(control_plane: ControlPlane, manifest: Object, **query: str) -> Object | None:
    """Create it; None while the server does not know all of its fields."""
    try:
        return control_plane.admin.create(manifest, **query)
    except ApiError as error:
        assert "unknown field" in error.message
        return None


def test_an_upgrade_keeps_credentials_and_resources_and_renews_definitions(
    install: Install, cluster_helm: Helm, control_plane: ControlPlane, chart: Path, tmp_path: Path
) -> None:
    install(source=older(chart, tmp_path))
    admin = control_plane.admin
    before = credentials(control_plane)
    admin.wait("Evaluation", lambda: admin.create(evaluation("kept")))
    seeded = evaluation("seeded", seed=7)
    admin.wait("the older definition", lambda: not created(control_plane, seeded, dryRun="All"))

    cluster_helm("upgrade", "assay", chart)

    assert credentials(control_plane) == before
    assert admin.get(API, "Evaluation", "kept", NAMESPACE)["spec"]["dataset"] == "held-out"
    assert admin.wait("the new field", lambda: created(control_plane, seeded))
    operator = admin.get("apps/v1", "Deployment", "assay-operator", NAMESPACE)
    containers = operator["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "assay-operator:0.1.0"


def test_an_uninstall_leaves_the_definitions_and_what_users_made(
    install: Install, cluster_helm: Helm, control_plane: ControlPlane
) -> None:
    install()
    admin = control_plane.admin
    admin.wait("Evaluation", lambda: admin.create(evaluation("mine")))
    first = credentials(control_plane)
    cluster_helm("uninstall", "assay", "--wait")
    assert len(definitions(control_plane)) == 5
    assert admin.get(API, "Evaluation", "mine", NAMESPACE)
    for api, kind, name in (
        ("apps/v1", "Deployment", "assay-operator"),
        ("apps/v1", "StatefulSet", "assay-minio"),
        ("v1", "Secret", "assay-store"),
        ("v1", "ServiceAccount", "assay-operator"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", "assay-operator"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "assay-operator"),
    ):
        assert admin.find(api, kind, name, NAMESPACE) is None
    install()
    assert admin.get(API, "Evaluation", "mine", NAMESPACE)
    assert credentials(control_plane) != first


def test_pods_are_admitted_where_pod_security_is_restricted(
    control_plane: ControlPlane, rendered: list[Object]
) -> None:
    namespace = control_plane.new_namespace("pods", RESTRICTED)
    seen = []
    for name, template in pod_templates(rendered):
        spec = template["spec"] | {"serviceAccountName": "default"}
        spec.pop("priorityClassName", None)
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
        metadata = {"name": "as-rendered", "namespace": namespace}
        # Refused with 403 and the rule's name if one rule is broken.
        control_plane.admin.create({**pod, "metadata": metadata}, dryRun="All")
        seen.append(name)
    assert "Deployment/assay-operator" in seen


def test_nodes_with_8_gpus_and_evaluations_in_the_second_step(
    install: Install, cluster_helm: Helm, control_plane: ControlPlane, chart: Path, tmp_path: Path
) -> None:
    spec = evaluation("any", schedule="0 3 * * *")["spec"]
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"evaluations": [{"name": "nightly", "spec": spec}]}))
    values = ("--values", chart / "values-8x40gb.yaml", "--values", own)
    served = bool(definitions(control_plane))
    install(*values)
    told = cluster_helm("get", "notes", "assay").stdout
    # On a cluster that never had Assay the kinds are not served yet.
    assert ("ONE MORE STEP" in told) is not served
    cluster_helm("upgrade", "assay", chart, "--reuse-values")
    made = control_plane.admin.get(API, "Evaluation", "nightly", NAMESPACE)
    assert made["spec"]["schedule"] == "0 3 * * *"
    assert "ONE MORE STEP" not in cluster_helm("get", "notes", "assay").stdout


def allowed(control_plane: ControlPlane, at: str, **what: str) -> bool:
    """Ask the API server whether the operator may do this in the namespace `at`."""
    asked = control_plane.admin.create(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {
                "user": f"system:serviceaccount:{NAMESPACE}:assay-operator",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"],
                "resourceAttributes": {"namespace": at, **what},
            },
        }
    )
    return bool(asked["status"]["allowed"])


def test_a_namespaced_operator_may_work_in_its_namespaces_only(
    install: Install, control_plane: ControlPlane, cluster_helm: Helm, chart: Path
) -> None:
    team, other = (control_plane.new_namespace(name) for name in ("team", "other"))
    install("--set", f"watchNamespaces={{{team}}}")

    def may(at: str, verb: str, group: str, resource: str) -> bool:
        what = {"verb": verb, "group": group, "resource": resource}
        return allowed(control_plane, at, **what)

    assert may(team, "create", "kubeflow.org", "pytorchjobs")
    assert may(team, "update", "assay.dev", "trainingstages")
    assert not may(other, "list", "assay.dev", "trainingstages")
    assert not may(other, "create", "kubeflow.org", "pytorchjobs")
    for at in (team, other, NAMESPACE):
        assert not may(at, "get", "", "secrets")
        assert not may(at, "create", "", "pods")
    assert may(NAMESPACE, "update", "coordination.k8s.io", "leases")
    assert not may(team, "get", "coordination.k8s.io", "leases")
    # Workloads there find the keys of the store.
    assert credentials(control_plane, team) == credentials(control_plane)


def test_the_server_lists_what_the_chart_gives_and_no_more(
    install: Install, control_plane: ControlPlane, render: Render
) -> None:
    install()
    client = control_plane.client_of("assay-operator", NAMESPACE)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "metadata": {},
        "spec": {"namespace": "default"},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found = client.request("POST", path, review)["status"]["resourceRules"]
    listed = {
        (group, resource, name, verb)
        for rule in found
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }
    # Every user of a cluster may ask what it may do itself.
    own = {
        right for right in listed if right[0] in ("authorization.k8s.io", "authentication.k8s.io")
    }
    given = bound_rights(render(), "assay-operator")
    given.pop("Role/assay-operator-lease")
    assert listed - own == set().union(*given.values())


def test_the_pod_of_helm_test_finds_every_kind(
    install: Install, control_plane: ControlPlane, chart: Path, tmp_path: Path
) -> None:
    install()
    client = control_plane.client_of("assay-operator", NAMESPACE)
    assert client.token
    (tmp_path / "token").write_text(client.token)
    shutil.copy(client.authority, tmp_path / "ca.crt")
    host, port = client.server.removeprefix("https://").split(":")
    env = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "ACCOUNT_FOLDER": str(tmp_path),
    }
    script = chart / "files/definitions_served.py"

    def ask() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)

    done = ask()
    assert (done.returncode, done.stdout) == (0, "assay.dev/v1alpha1: every kind is served\n")
    judges = next(
        one for one in definitions(control_plane) if "rewardmodels" in str(one["metadata"])
    )
    unserved = [{**judges["spec"]["versions"][0], "served": False}]
    control_plane.admin.patch(judges, {"spec": {"versions": unserved}})
    refused = control_plane.admin.wait("refusal", lambda: (ask().returncode and ask()) or None)
    assert "not served: RewardModel" in refused.stderr
    control_plane.admin.patch(judges, {"spec": {"versions": judges["spec"]["versions"]}})
