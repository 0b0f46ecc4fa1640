"""Workloads whose model is one of the Hub: their pods reach it, and no others do."""

from collections.abc import Callable
from typing import Any

import pytest

from assay_api.errors import InvalidInput
from assay_operator.children.owner import Manifest
from assay_operator.children.rules import pod_templates

RL = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: foundation}
spec:
  model: {uri: "MODEL"}
  dataset: clips
  rl: {steps: 4}
  rewards: [{type: Accuracy}]
---
kind: Evaluation
metadata: {name: before}
spec: {model: {uri: "MODEL"}, dataset: clips}
---
kind: RewardModel
metadata: {name: sophia}
spec: {model: {uri: "MODEL"}}
"""
HUB = RL.replace("MODEL", "hf://Qwen/Qwen2.5-VL-7B-Instruct@main")
MIRROR = {"endpoint": "http://mirror.example:8080", "tokenSecret": "hub-token"}


def pods(manifests: list[Manifest], component: str) -> list[Manifest]:
    found = [template for manifest in manifests for _, template in pod_templates(manifest)]
    return [
        template["spec"]
        for template in found
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]


def env(pod: Manifest) -> dict[str, Any]:
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}


def ports(manifests: list[Manifest], name: str) -> set[int]:
    (policy,) = [
        m for m in manifests if m["kind"] == "NetworkPolicy" and name in m["metadata"]["name"]
    ]
    egress = policy["spec"]["egress"]
    return {port["port"] for rule in egress if "to" not in rule for port in rule.get("ports", ())}


def test_pods_that_fetch_the_model_reach_the_hub_with_the_token_as_a_file(
    rendered: Callable[..., list[Manifest]],
) -> None:
    manifests = rendered(HUB, "8x40gb", hub=MIRROR)

    for component in ("learner", "rollout", "head", "judge", "evaluation"):
        for pod in pods(manifests, component):
            assert env(pod)["HF_HUB_OFFLINE"] == "0"
            assert env(pod)["HF_ENDPOINT"] == "http://mirror.example:8080"
            assert env(pod)["HF_TOKEN_PATH"] == "/etc/assay/hub/token"
            (volume,) = [v for v in pod["volumes"] if v["name"] == "hub-token"]
            assert volume["secret"]["secretName"] == "hub-token"
            assert volume["secret"]["items"] == [{"key": "HF_TOKEN", "path": "token"}]
            (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "hub-token"]
            assert mount == {"name": "hub-token", "mountPath": "/etc/assay/hub", "readOnly": True}
        assert pods(manifests, component) != []
    assert all(8080 in ports(manifests, name) for name in ("foundation", "before", "sophia"))
    # Whoever makes the dataset or only submits the job has no token.
    for component in ("dataset", "submitter"):
        assert pods(manifests, component) != []
        for pod in pods(manifests, component):
            assert env(pod)["HF_HUB_OFFLINE"] == "1"
            assert all(volume["name"] != "hub-token" for volume in pod["volumes"])
    assert 8080 not in ports(manifests, "clips")


def test_without_mirror_and_token_only_the_network_is_opened(
    rendered: Callable[..., list[Manifest]],
) -> None:
    manifests = rendered(HUB, "8x40gb", hub={})

    for pod in pods(manifests, "learner"):
        assert env(pod)["HF_HUB_OFFLINE"] == "0"
        assert not {"HF_ENDPOINT", "HF_TOKEN_PATH"} & env(pod).keys()
    assert 443 in ports(manifests, "foundation")


def test_other_workloads_stay_offline(rendered: Callable[..., list[Manifest]]) -> None:
    manifests = rendered(RL.replace("MODEL", "s3://models/qwen2.5-vl-7b"), "8x40gb", hub=MIRROR)

    for component in ("learner", "rollout", "head", "judge", "evaluation"):
        for pod in pods(manifests, component):
            assert env(pod)["HF_HUB_OFFLINE"] == "1"
            assert "HF_TOKEN_PATH" not in env(pod)
    assert 8080 not in ports(manifests, "foundation")


def test_without_a_way_to_the_hub_it_is_refused(rendered: Callable[..., list[Manifest]]) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.model\.uri: hf://Qwen.*set hub\.enabled in the"):
        rendered(HUB, "8x40gb")
