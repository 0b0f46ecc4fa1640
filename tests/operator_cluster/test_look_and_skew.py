"""A look at the API server, the definitions that it has, and what the process says of itself."""

import io
import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest
from made_objects import CREATED, STAGE, child, pod
from model_cluster import ModelCluster
from simulation import ALONE

from assay_api.log_lines import JsonLines, TextLines
from assay_operator.children.owner import Manifest
from assay_operator.cluster.api import ApiError, Gone, Refused
from assay_operator.cluster.health import ALIVE_SECONDS, Heartbeat, serve_health
from assay_operator.cluster.kinds import RESOURCES, Kind
from assay_operator.cluster.look import Parser, look, slim
from assay_operator.cluster.seen import attempt_of, owner_of
from assay_operator.cluster.skew import SCHEMA_ANNOTATION, skew
from assay_operator.timestamps import epoch_seconds


def test_a_version_is_parsed_once() -> None:
    parser = Parser()
    raw = ModelCluster(ALONE).objects["TrainingStage", "alone"]
    first = parser.parse(raw)
    assert parser.parse(raw) is first
    raw["spec"]["sft"]["steps"] = -1
    assert parser.parse(raw) is first
    raw["metadata"]["resourceVersion"] = "next"
    problem = parser.parse(raw)
    assert isinstance(problem, str)
    assert "spec.sft.steps" in problem
    parser.keep([])
    raw["spec"]["sft"]["steps"] = 4
    assert parser.parse(raw) == first


def test_a_status_of_another_version_is_not_parsed() -> None:
    raw = ModelCluster(ALONE).objects["TrainingStage", "alone"]
    raw["status"] = {"phase": "Odd", "step": "many"}
    assert not isinstance(Parser().parse(raw), str)


def test_a_look_sorts_by_whom_things_belong_to() -> None:
    cluster = ModelCluster(ALONE)
    labels = {"app.kubernetes.io/managed-by": "assay"}
    for made in (child(), child("ConfigMap"), pod("here"), pod("stray", attempt=7)):
        made["metadata"]["labels"] |= labels
        cluster.add(made)
    for foreign in (
        child("Job"),
        {**child("Pod"), "metadata": {"name": "other", "labels": labels}},
    ):
        cluster.add(foreign)
    (found,) = look(cluster, Parser(), ("team",))
    assert (found.namespace, sorted(found.raw)) == ("team", sorted(found.resources))
    (only,) = found.children[STAGE]
    assert [p["metadata"]["name"] for p in only.pods] == ["here"]
    assert [m["kind"] for m in found.companions[STAGE]] == ["ConfigMap"]
    assert [p["metadata"]["name"] for p in found.strays[STAGE]] == ["stray"]


def test_of_a_pod_that_waits_a_look_keeps_what_it_waits_for() -> None:
    spec: Manifest = {
        "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "64"}}, "command": ["x"]}
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "keys", "secret": {"secretName": "assay-store"}},
        ],
    }
    kept = slim({"apiVersion": "v1", **pod("p", "Pending"), "spec": spec})["spec"]
    assert kept["containers"] == [{"name": "c", "resources": {"requests": {"cpu": "64"}}}]
    assert kept["volumes"] == [{"name": "keys", "secret": {"secretName": "assay-store"}}]
    running = slim({"apiVersion": "v1", **pod("p", "Running"), "spec": spec})["spec"]
    assert running == {"suspend": False}


@pytest.mark.parametrize(
    ("labels", "attempt"),
    [({}, 0), ({"assay.dev/attempt": "12"}, 12), ({"assay.dev/attempt": "forged"}, 0)],
)
def test_an_attempt_that_cannot_be_read_is_none(labels: dict[str, str], attempt: int) -> None:
    manifest: Manifest = {"metadata": {"labels": labels}}
    assert attempt_of(manifest) == attempt
    assert owner_of(manifest) is None


def test_times_are_read_in_any_zone() -> None:
    assert epoch_seconds(CREATED) == epoch_seconds("2026-05-01T12:00:00.000+02:00")


class Definitions:
    """An API server that knows definitions only."""

    def __init__(self, found: Mapping[str, Manifest], otherwise: ApiError) -> None:
        self.found, self.otherwise = found, otherwise

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        if name not in self.found:
            raise self.otherwise
        return self.found[name]


DIGESTS = {kind.kind: f"digest-of-{kind.kind}" for kind in RESOURCES}


def definitions(**changed: Any) -> dict[str, Manifest]:
    ours = {
        f"{kind.plural}.assay.dev": {
            "metadata": {"annotations": {SCHEMA_ANNOTATION: DIGESTS[kind.kind]}}
        }
        for kind in RESOURCES
    }
    third: dict[str, Manifest] = {
        "pytorchjobs.kubeflow.org": {"metadata": {}},
        "rayjobs.ray.io": {"metadata": {}},
    }
    return {name: changed.get(name, made) for name, made in {**ours, **third}.items()}


def skewed(found: Mapping[str, Manifest], otherwise: ApiError | None = None) -> list[str]:
    api = Definitions(found, otherwise or Gone("no such definition"))
    return skew(api, DIGESTS)  # type: ignore[arg-type]


def test_definitions_of_this_version_are_no_skew() -> None:
    assert skewed(definitions()) == []


def test_definitions_that_may_not_be_read_are_no_skew() -> None:
    assert skewed({}, Refused("403")) == []
    assert skewed({}, ApiError("no answer")) == []


def test_each_definition_that_is_missing_is_told_with_what_to_do() -> None:
    problems = skewed({})
    assert len(problems) == len(RESOURCES) + 2
    assert "datasets.assay.dev is not installed: `kubectl apply -k manifests/crds`" in problems[0]
    assert "install training-operator" in problems[-2]
    assert "install KubeRay" in problems[-1]


@pytest.mark.parametrize("annotations", [None, {}, {SCHEMA_ANNOTATION: "digest-of-another"}])
def test_another_schema_is_told(annotations: dict[str, str] | None) -> None:
    other = {"metadata": {"annotations": annotations}}
    (problem,) = skewed(definitions(**{"datasets.assay.dev": other}))
    there = "digest-of-an" if annotations else "none"
    assert problem.startswith(f"datasets.assay.dev has schema {there}, this operator was built")


def answer(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_alive_is_who_looked_lately() -> None:
    now = [0.0]
    heartbeat = Heartbeat(lambda: now[0])
    server = serve_health(heartbeat, 0)
    try:
        port = server.server_address[1]
        assert answer(port, "/healthz") == (200, "last look 0 s ago\n")
        now[0] = ALIVE_SECONDS - 1
        assert answer(port, "/healthz")[0] == 200
        now[0] = ALIVE_SECONDS
        assert answer(port, "/healthz") == (503, "last look 120 s ago\n")
        heartbeat.beat()
        assert answer(port, "/healthz")[0] == 200
        assert answer(port, "/")[0] == 404
    finally:
        server.shutdown()
        server.server_close()


def logged(formatter: logging.Formatter, error: bool = False) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    record = logging.LogRecord("assay", logging.WARNING, "f", 1, "said %s\nmore", ("x",), None)
    record.created = 0.5
    record.__dict__ |= {"resource": "Dataset/clips", "namespace": "team", "reason": ""}
    if error:
        try:
            raise KeyError("gone")
        except KeyError:
            record.exc_info = sys.exc_info()
    handler.emit(record)
    return out.getvalue()


def test_an_event_is_one_line_of_json() -> None:
    line = logged(JsonLines())
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "warning",
        "logger": "assay",
        "message": "said x\nmore",
        "resource": "Dataset/clips",
        "namespace": "team",
    }
    assert "KeyError: 'gone'" in json.loads(logged(JsonLines(), error=True))["exception"]


def test_people_read_who_first() -> None:
    assert logged(TextLines()) == "1970-01-01 00:00:00 WARNING Dataset/clips team said x\nmore\n"
    assert logged(TextLines(), error=True).endswith("KeyError: 'gone'\n")
