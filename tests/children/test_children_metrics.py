"""Every pod of a workload can be asked for its metrics, but for the one that only waits."""

from collections.abc import Callable
from typing import Any

import pytest

from assay_operator.children.owner import Manifest
from assay_operator.children.rules import pod_templates

Render = Callable[..., list[Manifest]]


def ports(manifests: list[Manifest]) -> dict[str, dict[str, int]]:
    """Return the ports of each pod's container by name, by component."""
    found = {}
    for manifest in manifests:
        for _, template in pod_templates(manifest):
            (container,) = template["spec"]["containers"]
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            of = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            found[component] = of
    return found


def env(manifests: list[Manifest], component: str) -> dict[str, Any]:
    (found,) = {
        tuple((v["name"], v.get("value")) for v in template["spec"]["containers"][0]["env"])
        for manifest in manifests
        for _, template in pod_templates(manifest)
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == component
    }
    return dict(found)


def test_learners_rollouts_and_the_head_of_a_ray_cluster_serve_metrics(rendered: Render) -> None:
    found = ports(rendered("small", "cpu"))
    assert found["learner"] == {"metrics": 9100, "ray-metrics": 8080}
    assert found["rollout"] == {"metrics": 9100, "ray-metrics": 8080}
    assert found["head"] == {
        "gcs-server": 6379,
        "dashboard": 8265,
        "client": 10001,
        "metrics": 8080,
    }
    assert found["submitter"] == {}


def test_each_process_of_a_pod_has_a_port_of_its_own(rendered: Render) -> None:
    manifests = rendered("sft", "everything")
    (job,) = (m for m in manifests if m["kind"] == "PyTorchJob")
    count = int(job["spec"]["nprocPerNode"])
    assert count > 1
    names = ["metrics", *(f"metrics-{number}" for number in range(1, count))]
    assert ports(manifests)["learner"] == {name: 9100 + number for number, name in enumerate(names)}


@pytest.mark.parametrize(
    ("what", "component"), [("dataset", "dataset"), ("evaluations", "evaluation")]
)
def test_jobs_of_one_process_serve_metrics(what: str, component: str, rendered: Render) -> None:
    assert ports(rendered(what))[component] == {"metrics": 9100}


def test_a_judge_is_asked_at_its_servers_port(rendered: Render) -> None:
    assert ports(rendered("small", "cpu"))["judge"] == {"http": 8000}


def test_only_who_serves_metrics_is_told_to(rendered: Render) -> None:
    on_ray = rendered("rl")
    assert env(on_ray, "learner")["ASSAY_METRICS_PORT"] == "9100"
    assert "ASSAY_METRICS_PORT" not in env(on_ray, "head")
    assert "ASSAY_METRICS_PORT" not in env(rendered("small", "cpu"), "judge")


def test_ray_serves_its_own_at_the_port_that_is_named(rendered: Render) -> None:
    (job,) = (m for m in rendered("rl") if m["kind"] == "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["rayStartParams"]["metrics-export-port"] == "8080"


def test_every_program_is_told_how_a_line_of_its_log_looks(rendered: Render) -> None:
    assert env(rendered("rl"), "learner")["ASSAY_LOG_FORMAT"] == "text"
