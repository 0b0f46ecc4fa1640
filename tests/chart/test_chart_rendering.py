"""What the chart makes of each set of values."""

import json
import re
import subprocess
from pathlib import Path

import exported_names
import pytest
import values_schema
import yaml
from go_programs import HELM_UNITTEST, built
from rendered_objects import Helm, Object, Render, bound_rights, named, of_kind, pod_templates
from typer.testing import CliRunner

from assay_api.manifests import KINDS
from assay_api.metrics_ports import NUM_PORTS
from assay_api.platform import Platform
from assay_trainer.cli.main import app


def platform_of(objects: list[Object]) -> Platform:
    text = named(objects, "ConfigMap", "assay-platform")["data"]["platform.yaml"]
    return Platform.model_validate(yaml.safe_load(text))


def test_lint_finds_nothing(helm: Helm, chart: Path, values_file: Path) -> None:
    done = helm("lint", "--strict", chart, "--values", values_file)
    assert (done.returncode, "[WARNING]" in done.stdout) == (0, False), done.stdout


def test_the_platform_is_one_that_the_operator_reads(rendered: list[Object]) -> None:
    platform = platform_of(rendered)
    operator = named(rendered, "Deployment", "assay-operator")["spec"]["template"]["spec"]
    env = {e["name"]: e for e in operator["containers"][0]["env"]}
    # The operator reads the same store with the same keys as the workloads.
    assert env.get("AWS_ENDPOINT_URL", {}).get("value") == platform.store.endpoint
    assert env.get("AWS_REGION", {}).get("value") == platform.store.region
    keys = [env[n]["valueFrom"]["secretKeyRef"]["name"] for n in env if n.endswith("_KEY_ID")]
    assert keys == ([platform.store.credentials_secret] if keys else [])


def test_the_operator_knows_the_flags_that_it_is_started_with(render: Render) -> None:
    objects = render("--set", "watchNamespaces={a}")
    operator = named(objects, "Deployment", "assay-operator")["spec"]["template"]["spec"]
    command, *flags = operator["containers"][0]["args"]
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert [flag for flag in flags if flag.split("=")[0] not in told.output] == []


def test_the_defaults_are_a_store_in_the_cluster_and_a_pool_of_cpus(render: Render) -> None:
    platform = platform_of(render())
    assert platform.store.url == "s3://assay/runs"
    assert platform.store.endpoint == "http://assay-minio.assay-system.svc:9000"
    assert (platform.store.port, platform.store.credentials_secret) == (9000, "assay-store")
    assert {name: pool.gpus_per_node for name, pool in platform.node_pools.items()} == {
        "default": 0
    }
    assert (platform.accelerator, platform.images.trainer) == ("Cpu", "assay-trainer:0.1.0-cpu")


def test_nodes_of_eight_gpus_with_40_gb(render: Render, chart: Path) -> None:
    platform = platform_of(render("--values", chart / "values-8x40gb.yaml"))
    pool = platform.node_pools["default"]
    assert (pool.gpus_per_node, pool.gpu_memory_gib, pool.shm_gib) == (8, 40, 64)
    assert pool.node_selector == {"nvidia.com/gpu.count": "8"}
    assert [(t.key, t.operator, t.effect) for t in pool.tolerations] == [
        ("nvidia.com/gpu", "Exists", "NoSchedule")
    ]
    assert (platform.cpu_pool, platform.node_pools["cpu"].gpus_per_node) == ("cpu", 0)
    assert (platform.accelerator, platform.images.trainer) == ("Gpu", "assay-trainer:0.1.0-gpu")
    # What `assay plan` and `assay render` reckon with unless told otherwise.
    example = yaml.safe_load((chart.parents[1] / "manifests/platforms/8x40gb.yaml").read_text())
    assert platform.node_pools == Platform.model_validate(example).node_pools


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("https://objects.example", 443), ("http://objects.example", 80), ("http://a.example:81", 81)],
)
def test_the_stores_port_is_the_endpoints(render: Render, endpoint: str, port: int) -> None:
    own = "minio.enabled=false,store.url=s3://a/b"
    objects = render("--set", f"{own},store.endpoint={endpoint}")
    assert platform_of(objects).store.port == port
    rules = named(objects, "NetworkPolicy", "assay-operator")["spec"]["egress"]
    assert [{"protocol": "TCP", "port": port}] in [rule["ports"] for rule in rules]


def test_images_come_from_the_registry_and_by_digest(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    objects = render(
        "--set", f"image.registry=r.example/a/,image.tag=v9,data.image.digest={digest}"
    )
    images = platform_of(objects).images
    assert images.trainer == "r.example/a/assay-trainer:v9-cpu"
    assert images.data == f"r.example/a/assay-data@{digest}"


def test_every_right_is_named(rendered: list[Object]) -> None:
    found = bound_rights(rendered, "assay-operator")
    assert found
    for group, resource, _, verb in set().union(*found.values()):
        assert "*" not in (group, resource, verb)
        assert resource not in ("secrets", "pods/exec", "pods/log", "serviceaccounts/token")


def test_in_named_namespaces_the_operator_has_no_right_elsewhere(
    render: Render, chart: Path
) -> None:
    objects = render("--values", chart / "ci/namespaced-values.yaml")
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition") == []
    assert {role["metadata"]["namespace"] for role in of_kind(objects, "Role")} == {
        "assay-system", "team-a", "team-b",
    }  # fmt: skip
    operator = named(objects, "Deployment", "assay-operator")["spec"]["template"]["spec"]
    arguments = operator["containers"][0]["args"]
    assert ["--namespace=team-a", "--namespace=team-b"] == arguments[-2:]


def test_no_object_says_that_the_operator_made_it(rendered: list[Object]) -> None:
    # The operator takes whatever is labelled so for a child of its own.
    templates = [template for _, template in pod_templates(rendered)]
    for found in [*rendered, *templates]:
        labels = found["metadata"].get("labels", {})
        assert labels.get("app.kubernetes.io/managed-by") != "assay"


def test_definitions_are_kept_unless_said_otherwise(render: Render) -> None:
    definitions = of_kind(render(), "CustomResourceDefinition")
    assert {one["spec"]["names"]["kind"] for one in definitions} == set(KINDS)
    for one in definitions:
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for one in of_kind(render("--set", "crds.keep=false"), "CustomResourceDefinition"):
        assert "helm.sh/resource-policy" not in one["metadata"]["annotations"]


def test_evaluations_and_the_judge_are_what_the_models_allow(render: Render, chart: Path) -> None:
    objects = render("--values", chart / "ci/workload-identity-values.yaml")
    found = of_kind(objects, "Evaluation", "RewardModel")
    assert len(found) == 2
    for one in found:
        KINDS[one["kind"]].model_validate(one)


@pytest.mark.parametrize(
    ("value", "named_in_the_message"),
    [
        ("oprator.logFormat=json", "'oprator'"),
        ("operator.replicas=2", "'replicas'"),
        ("nodePools.default.gpu=8", "'gpu'"),
        ("nodePools.default.gpusPerNode=99", "/nodePools/default/gpusPerNode"),
        ("minio.password=hunter2", "'password'"),
        ("minio.image.tag=latest", "/minio/image/tag"),
        ("store.secret=a", "'secret'"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("evaluations[0].name=a,evaluations[0].spec.modle=b", "'modle'"),
        ("rewardModel.enabled=true", "/rewardModel/spec"),
        ("rewardModel.spec.modle=b", "modle"),
        ("cpuPool=fast", 'cpuPool is "fast", nodePools has default'),
        ("store.endpoint=https://a.example", "minio.enabled=false"),
        ("minio.enabled=false", "store.url=s3://BUCKET/PREFIX"),
        ("store.url=s3://other/runs", "minio.bucket"),
        ("cache.hostPath=/etc/assay", "/cache/hostPath"),
        ("cache.hostPath=/assay", "/cache/hostPath"),
        ("cache.hostPath=/mnt/assay,cache.claim=downloads", "set one of the two"),
    ],
)
def test_wrong_values_are_refused_by_name(
    helm: Helm, chart: Path, value: str, named_in_the_message: str
) -> None:
    done = helm("template", "assay", chart, "--kube-version", "1.36.2", "--set", value)
    assert done.returncode == 1
    assert named_in_the_message in done.stderr


def test_the_cache_that_pods_share_is_off_unless_asked_for(render: Render) -> None:
    assert platform_of(render()).cache is None
    folder = platform_of(render("--set", "cache.hostPath=/mnt/nvme/assay,cache.sizeGib=500")).cache
    assert folder is not None
    assert (folder.host_path, folder.claim, folder.size_gib) == ("/mnt/nvme/assay", None, 500)
    claim = platform_of(render("--set", "cache.claim=downloads")).cache
    assert claim is not None
    assert (claim.host_path, claim.claim, claim.size_gib) == (None, "downloads", 200)


def test_credentials_are_made_anew_for_each_installation(render: Render) -> None:
    first, second = (named(render(), "Secret", "assay-store")["data"] for _ in range(2))
    assert set(first) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all(first[key] != second[key] for key in first)


def test_no_credentials_are_in_values_or_templates(chart: Path) -> None:
    for path in [*chart.rglob("*.yaml"), *chart.rglob("*.tpl")]:
        assert not re.search(r"minio123|minioadmin|AKIA[A-Z0-9]{16}", path.read_text()), path


def test_a_store_of_ones_own_brings_no_server_and_no_secret(render: Render, chart: Path) -> None:
    objects = render("--values", chart / "ci/external-s3-values.yaml")
    assert of_kind(objects, "Secret", "StatefulSet") == []
    operator = named(objects, "Deployment", "assay-operator")["spec"]["template"]["spec"]
    assert {"name": "ca", "configMap": {"name": "team-ca"}} in operator["volumes"]


def test_the_schema_of_values_is_current() -> None:
    assert values_schema.SCHEMA_FILE.read_text() == values_schema.text(), (
        "run: python tests/chart/values_schema.py"
    )


def test_every_value_has_its_line_in_the_readme(chart: Path) -> None:
    _, _, table = (chart / "README.md").read_text().partition("\n## Values\n")
    listed = set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))
    properties = values_schema.properties()
    expected = {path for name, one in properties.items() for path in leaves(name, one)}
    assert listed == expected - {"global"}


def leaves(path: str, schema: Object) -> list[str]:
    inner = schema.get("properties")
    if not inner or (path.endswith(("image", "resources")) and "." in path):
        return [path]
    return [leaf for name, one in inner.items() for leaf in leaves(f"{path}.{name}", one)]


@pytest.mark.parametrize("name", ["operator", "training"])
def test_dashboards_are_for_metrics_that_exist(chart: Path, name: str) -> None:
    board = json.loads((chart / f"dashboards/{name}.json").read_text())
    expressions = [t["expr"] for p in board["panels"] for t in p["targets"]]
    expressions += [v["query"] for v in board["templating"]["list"]]
    used = {metric for text in expressions for metric in re.findall(r"assay_[a-z_]+", text)}
    assert used
    of = exported_names.of_the_operator() if name == "operator" else exported_names.of_workloads()
    histograms = {metric for metric, kind in of.items() if kind == "histogram"}
    known = of.keys() | {metric + end for metric in histograms for end in ("_bucket", "_count")}
    recorded = {m for m in used if name == "training" and exported_names.is_recorded(m)}
    assert used - known - recorded == set()


def test_every_port_for_metrics_is_asked(render: Render) -> None:
    monitored = render("--set", "metrics.podMonitor.enabled=true")
    (monitor,) = of_kind(monitored, "PodMonitor")
    asked = [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    own = ["metrics", *(f"metrics-{number}" for number in range(1, NUM_PORTS))]
    assert asked == [*own, "ray-metrics", "http"]


def test_the_charts_own_suites_pass(chart: Path) -> None:
    command = [str(built(HELM_UNITTEST)), "--strict", str(chart)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
