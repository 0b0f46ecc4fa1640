"""Every pod that is made passes Pod Security restricted; the two exceptions are on request."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pod_security import restricted_violations
from pydantic import ValidationError

from assay_api.platform import Platform
from assay_operator.children.owner import Manifest
from assay_operator.children.rules import check, pod_templates

Render = Callable[..., list[Manifest]]

STAGE = """
kind: TrainingStage
metadata: {name: stage}
spec:
  model: {uri: s3://m/Qwen2.5-VL-7B}
  dataset: clips
  METHOD
  placement: {learners: LEARNERS, rollouts: ROLLOUTS}
"""
METHODS = {
    "sft": "sft: {task: T, steps: 1, examplesPerStep: 240}",
    "fusion": "fusion: {steps: 1, examplesPerStep: 240}",
    "rl": "rl: {steps: 1}\n  rewards: [{type: Accuracy}]",
}


def templates(manifests: list[Manifest]) -> list[Manifest]:
    return [template for manifest in manifests for _, template in pod_templates(manifest)]


@pytest.mark.parametrize(
    ("what", "count"),
    [("sft", 2), ("rl", 5), ("fusion", 4), ("dataset", 1), ("evaluations", 2), ("small", 6)],
)
def test_every_pod_passes_restricted(what: str, count: int, rendered: Render) -> None:
    found = templates(rendered(what))
    assert len(found) == count
    assert [restricted_violations(template) for template in found] == [[]] * count


@pytest.mark.parametrize("what", ["sft", "rl", "dataset", "evaluations"])
def test_no_container_can_write_to_its_root_or_reach_the_api_server(
    what: str, rendered: Render
) -> None:
    for template in templates(rendered(what)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        env = {v["name"]: v.get("value", "") for v in container["env"]}
        assert writable == {"/tmp", "/home/assay", "/dev/shm"}
        for name in ("HOME", "HF_HOME", "ASSAY_CACHE"):
            assert env[name].startswith("/home/assay"), name


def test_rdma_asks_for_a_capability_and_only_between_nodes(rendered: Render) -> None:
    master, worker = templates(rendered("sft", "everything"))
    for template in (master, worker):
        assert restricted_violations(template) == [
            "pytorch: capability IPC_LOCK",
            "pytorch: adds IPC_LOCK",
        ]
        (container,) = template["spec"]["containers"]
        assert container["resources"]["limits"]["rdma/hca"] == "8"
    # 8 learners on one node have no need of it.
    for template in templates(rendered("rl", "everything")):
        assert restricted_violations(template) == []


def mounts(template: Manifest) -> dict[str, str]:
    (container,) = template["spec"]["containers"]
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize(
    ("cache", "volume", "violations"),
    [
        (
            {"claim": "downloads", "sizeGib": 50},
            {"persistentVolumeClaim": {"claimName": "downloads"}},
            [],
        ),
        (
            {"hostPath": "/var/cache/assay", "sizeGib": 50},
            # Made by the kubelet it would be root's.
            {"hostPath": {"path": "/var/cache/assay", "type": "Directory"}},
            ["hostPath volume cache", "volume cache: hostPath"],
        ),
    ],
)
@pytest.mark.parametrize("what", ["sft", "rl", "dataset", "evaluations", "small"])
def test_a_shared_cache_is_where_downloads_are_kept(
    what: str,
    cache: Manifest,
    volume: Manifest,
    violations: list[str],
    rendered: Render,
) -> None:
    for template in templates(rendered(what, cache=cache)):
        (container,) = template["spec"]["containers"]
        env = {v["name"]: v.get("value") for v in container["env"]}
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "submitter":
            assert "cache" not in mounts(template)
            continue
        assert mounts(template)["cache"] == env["ASSAY_CACHE"] == "/home/assay/cache"
        assert env["ASSAY_CACHE_GIB"] == "50"
        (found,) = [v for v in template["spec"]["volumes"] if v["name"] == "cache"]
        assert found == {"name": "cache", **volume}
        assert restricted_violations(template) == violations


def test_without_a_shared_cache_each_pod_has_its_own(rendered: Render) -> None:
    for template in templates(rendered("rl")):
        assert "cache" not in mounts(template)


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ({"hostPath": "/etc/assay"}, "folders of the node are refused"),
        ({"hostPath": "/var/lib/kubelet"}, "folders of the node are refused"),
        ({"hostPath": "/cache"}, "pattern"),
        ({"hostPath": "/var/../etc/x"}, "pattern"),
        ({"hostPath": "cache/assay"}, "pattern"),
        ({"hostPath": "/var/cache/assay", "claim": "downloads"}, "exactly one of hostPath, claim"),
        ({"sizeGib": 10}, "exactly one of hostPath, claim"),
    ],
)
def test_a_cache_in_the_wrong_place_is_refused(
    cache: Manifest, message: str, platform_of: Callable[..., Platform]
) -> None:
    with pytest.raises(ValidationError, match=message):
        platform_of("8x40gb", cache=cache)


@pytest.mark.parametrize(
    ("path", "value", "violation"),
    [
        (("securityContext", "runAsNonRoot"), None, ""),
        (("hostNetwork",), True, "hostNetwork"),
        (("hostPID",), True, "hostPID"),
        (("volumes", 0), {"name": "tmp", "nfs": {"server": "x", "path": "/"}}, "volume tmp: nfs"),
        (("volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}, "hostPath volume tmp"),
        (("securityContext", "runAsUser"), 0, "pod: runAsUser 0"),
        (
            ("containers", 0, "securityContext", "allowPrivilegeEscalation"),
            True,
            "dataset: allowPrivilegeEscalation",
        ),
        (("containers", 0, "securityContext", "privileged"), True, "dataset: privileged"),
        (("containers", 0, "securityContext", "runAsNonRoot"), False, "dataset: runAsNonRoot"),
        (
            ("containers", 0, "securityContext", "capabilities"),
            {},
            "dataset: capabilities are not dropped",
        ),
        (
            ("containers", 0, "securityContext", "seccompProfile"),
            {"type": "Unconfined"},
            "dataset: seccompProfile",
        ),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "dataset: hostPort"),
    ],
)
def test_the_check_finds_what_it_is_for(
    path: tuple[Any, ...], value: Any, violation: str, rendered: Render
) -> None:
    (template,) = templates(rendered("dataset"))
    changed = deepcopy(template)
    place = changed["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert (violation in restricted_violations(changed)) is bool(violation)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=st.sampled_from(sorted(METHODS)),
    learners=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16]),
    rollouts=st.integers(1, 16),
    accelerator=st.sampled_from(["Gpu", "Cpu"]),
)
def test_whatever_is_asked_for_the_pods_are_restricted_and_the_rules_hold(
    method: str,
    learners: int,
    rollouts: int,
    accelerator: str,
    rendered: Render,
    platform_of: Callable[..., Platform],
) -> None:
    text = STAGE.replace("METHOD", METHODS[method])
    engines = "1" if method == "sft" else str(rollouts)
    text = text.replace("LEARNERS", str(learners)).replace("ROLLOUTS", engines)
    platform = platform_of("8x40gb").model_dump(mode="json", by_alias=True)
    platform["nodePools"]["default"]["nodes"] = 32
    changes = {**platform, "accelerator": accelerator}
    manifests = rendered(text, **changes)
    assert check(manifests) == []
    assert [restricted_violations(t) for t in templates(manifests)] == [
        [] for _ in templates(manifests)
    ]
    assert manifests == rendered(text, **changes)
