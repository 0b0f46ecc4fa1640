"""What children are called, say and carry."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from assay_api import ResolvedDatasetJob, ResolvedEvaluationJob, ResolvedStageJob
from assay_api.layout import ResourceId
from assay_operator.children.owner import Manifest, child_name, judge_url
from assay_operator.children.rules import pod_templates
from assay_operator.children.serving import start_budget_seconds
from assay_operator.decision import Role, Workload
from assay_operator.observed import ServeOrders

Render = Callable[..., list[Manifest]]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == kind)


def container(manifest: Manifest, index: int = 0) -> dict[str, Any]:
    found = [t["spec"]["containers"][0] for _, t in pod_templates(manifest)]
    return dict(found[index])


def environment(found: dict[str, Any]) -> dict[str, Any]:
    return {v["name"]: v["value"] for v in found["env"] if "value" in v}


def test_only_learners_have_a_trackers_key_and_no_manifest_its_value(rendered: Render) -> None:
    (job,) = (m for m in rendered("rl") if m["kind"] == "RayJob")
    have = [
        [v for v in template["spec"]["containers"][0]["env"] if "valueFrom" in v]
        for _, template in pod_templates(job)
    ]

    key = {"secretKeyRef": {"name": "wandb-key", "key": "WANDB_API_KEY"}}
    learners, *others = sorted(have, key=bool, reverse=True)
    assert learners == [{"name": "WANDB_API_KEY", "valueFrom": key}]
    assert not any(others)
    (group,) = (
        group["groupName"]
        for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        if "wandb-key" in json.dumps(group)
    )
    assert group == "learners"


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        ("sft", ["ConfigMap", "NetworkPolicy", "PyTorchJob"]),
        ("dataset", ["ConfigMap", "NetworkPolicy", "Job"]),
        (
            "fusion",
            ["ConfigMap", "NetworkPolicy", "RayJob", "ConfigMap", "NetworkPolicy", "PyTorchJob"],
        ),
        (
            "rl",
            [
                *("ConfigMap", "NetworkPolicy", "RayJob"),
                *("NetworkPolicy", "Service", "Deployment"),
            ],
        ),
    ],
)
def test_the_job_comes_after_all_that_it_needs(
    what: str, kinds: list[str], rendered: Render
) -> None:
    assert [manifest["kind"] for manifest in rendered(what)] == kinds


def test_every_child_goes_with_its_owner(rendered: Render) -> None:
    for manifest in [*rendered("rl"), *rendered("evaluations")]:
        (reference,) = manifest["metadata"]["ownerReferences"]
        labels = manifest["metadata"]["labels"]
        assert (reference["kind"], reference["name"]) == (
            labels["assay.dev/kind"],
            labels["assay.dev/name"],
        )
        assert reference["controller"] is True
        assert manifest["metadata"]["namespace"] == "videos"


def test_names_stay_within_what_each_kind_allows(rendered: Render) -> None:
    name = "n" * 40
    text = """
kind: TrainingStage
metadata: {name: NAME}
spec:
  model: {uri: s3://m}
  dataset: clips
  rl: {steps: 1}
  rewards: [{type: Accuracy}]
"""
    job = rendered(text.replace("NAME", name))[-1]
    orders = ResolvedStageJob.model_validate_json(
        rendered(text.replace("NAME", name))[0]["data"]["orders.json"]
    )
    late = Workload(ResourceId("TrainingStage", name), 99_999, Role.TRAIN, orders)
    assert len(job["metadata"]["name"]) == 43
    assert len(child_name(late)) == 47


@pytest.mark.parametrize(
    ("what", "kind", "model"),
    [
        ("sft", "StageJob", ResolvedStageJob),
        ("fusion", "StageJob", ResolvedStageJob),
        ("dataset", "DatasetJob", ResolvedDatasetJob),
        ("evaluations", "EvaluationJob", ResolvedEvaluationJob),
    ],
)
def test_the_orders_are_what_the_container_reads(
    what: str, kind: str, model: Any, rendered: Render
) -> None:
    manifests = rendered(what)
    config, job = manifests[0], manifests[2]
    assert config["immutable"] is True
    assert config["metadata"]["name"].startswith(job["metadata"]["name"] + "-")
    told = model.model_validate_json(config["data"]["orders.json"])
    assert told.kind == kind
    assert told.output.startswith("s3://assay/runs/videos/")
    mounted = [
        template["spec"]["volumes"]
        for _, template in pod_templates(job)
        if any(v["name"] == "orders" for v in template["spec"]["volumes"])
    ]
    assert mounted
    for volumes in mounted:
        (volume,) = (v for v in volumes if v["name"] == "orders")
        assert volume["configMap"]["name"] == config["metadata"]["name"]


def test_orders_don_t_change_with_the_status(rendered: Render) -> None:
    text = """
kind: TrainingStage
metadata: {name: stage, generation: 1}
spec: {model: {uri: s3://m}, dataset: clips, sft: {task: T, steps: 1}}
"""
    later = text + "status: {attempt: 1, step: 7}\n"
    other = text.replace("steps: 1", "steps: 2")
    names = [rendered(t)[0]["metadata"]["name"] for t in (text, later, other)]
    assert names[0] == names[1] != names[2]
    assert "status" not in json.loads(rendered(later)[0]["data"]["orders.json"])["stage"]


def test_a_model_of_another_stage_is_its_address_and_no_digest(rendered: Render) -> None:
    orders = json.loads(rendered("rl")[0]["data"]["orders.json"])
    assert orders["model"] == {
        "uri": "s3://assay/runs/videos/stages/cold-start/model",
        "digest": None,
    }
    assert orders["dataset"] == "s3://assay/runs/videos/datasets/clips"
    (judge,) = orders["judges"]
    assert judge["url"] == judge_url("sophiavl", "videos")
    assert judge["url"] == "http://judge-sophiavl.videos.svc:8000/v1"


def test_what_the_stage_asks_for_comes_before_the_pool_and_never_before_our_labels(
    rendered: Render,
) -> None:
    job = one(rendered("rl", "everything"), "RayJob")
    templates = {
        t["metadata"]["labels"]["app.kubernetes.io/component"]: t for _, t in pod_templates(job)
    }
    learner = templates["learner"]
    labels = learner["metadata"]["labels"]
    assert (labels["cost-centre"], labels["assay.dev/name"]) == ("42", "advanced")
    assert learner["metadata"]["annotations"] == {
        "note": "mine",
        "sidecar.istio.io/inject": "false",
    }
    spec = learner["spec"]
    assert spec["containers"][0]["image"] == "registry.example/my-trainer:7"
    assert spec["nodeSelector"] == {"pool": "a100", "zone": "a"}
    assert [t["key"] for t in spec["tolerations"]] == ["nvidia.com/gpu", "team", "zone"]
    assert spec["priorityClassName"] == "urgent"
    assert spec["schedulerName"] == "volcano"
    env = environment(spec["containers"][0])
    assert (env["NCCL_IB_HCA"], env["NCCL_DEBUG"], env["MY_FLAG"]) == ("mlx5", "INFO", "1")
    # The head is not in the pool that the stage chose nodes of.
    assert "nodeSelector" not in templates["head"]["spec"]
    assert "tolerations" not in templates["head"]["spec"]


def test_credentials_are_mounted_where_the_store_is_used_and_nowhere_written(
    rendered: Render,
) -> None:
    job = one(rendered("rl", "everything"), "RayJob")
    for _, template in pod_templates(job):
        found = template["spec"]["containers"][0]
        secrets = [v["secret"] for v in template["spec"]["volumes"] if "secret" in v]
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "submitter":
            assert secrets == []
            assert "AWS_ENDPOINT_URL" not in environment(found)
            continue
        assert secrets == [{"secretName": "store-keys", "defaultMode": 0o440}]
        env = environment(found)
        assert env["ASSAY_S3_CREDENTIALS"] == "/etc/assay/credentials"
        assert env["AWS_ENDPOINT_URL"] == "https://s3.example:8443"
        assert env["AWS_REGION"] == "eu-central-1"
        assert env["AWS_CA_BUNDLE"] == "/etc/assay/ca/ca.crt"
        assert {"name": "ca", "mountPath": "/etc/assay/ca", "readOnly": True} in found[
            "volumeMounts"
        ]


def test_jobs_are_queued_and_gangs_are_scheduled_as_the_pool_says(rendered: Render) -> None:
    queue = "kueue.x-k8s.io/queue-name"
    sft = one(rendered("sft", "everything"), "PyTorchJob")
    assert sft["metadata"]["labels"][queue] == "training"
    assert "suspend" not in sft["spec"]["runPolicy"]
    assert sft["spec"]["runPolicy"]["schedulingPolicy"] == {
        "minAvailable": 2,
        "priorityClass": "training",
    }
    ray = one(rendered("rl", "everything"), "RayJob")
    assert ray["metadata"]["labels"]["ray.io/gang-scheduling-enabled"] == "true"
    assert "suspend" not in ray["spec"]
    dataset = one(rendered("dataset", "everything"), "Job")
    assert dataset["metadata"]["labels"][queue] == "small"
    for manifest in rendered("sft"):
        assert queue not in manifest["metadata"]["labels"]
    assert "schedulingPolicy" not in one(rendered("sft"), "PyTorchJob")["spec"]["runPolicy"]


def test_the_programs_are_those_that_run_on_one_machine(rendered: Render) -> None:
    orders = "/etc/assay/orders/orders.json"
    assay = ["python", "-m", "assay_trainer.cli.main"]
    assert container(one(rendered("sft"), "PyTorchJob"))["command"] == [
        *("python", "-m", "torch.distributed.run", "-m", "assay_trainer.cli.main"),
        *("train", "--stage", orders),
    ]
    assert container(one(rendered("dataset"), "Job"))["command"] == [
        *assay,
        *("data", "build", orders),
    ]
    assert container(one(rendered("evaluations"), "Job"))["command"] == [
        *assay,
        *("eval", "--orders", orders),
    ]
    collect, train = (m for m in rendered("fusion") if m["kind"] in ("RayJob", "PyTorchJob"))
    assert collect["spec"]["entrypoint"] == (
        f"python -m assay_trainer.cli.main train --collect-only --stage {orders}"
    )
    groups = collect["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [group["groupName"] for group in groups] == ["rollouts"]
    assert train["kind"] == "PyTorchJob"


def test_a_judge_on_a_gpu_is_served_in_full_and_on_a_cpu_with_little(rendered: Render) -> None:
    gpu = one(rendered("rl"), "Deployment")
    arguments = container(gpu)["command"]
    options = dict(itertools.pairwise(arguments[3:]))
    assert (options["--host"], options["--port"]) == ("0.0.0.0", "8000")
    assert options["--gpu-memory-utilization"] == "0.9"
    assert options["--name"] == "sophiavl"
    assert "--enforce-eager" not in arguments
    assert container(gpu)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["spec"]["strategy"] == {"type": "Recreate"}
    cpu = container(one(rendered("small", "cpu"), "Deployment"))["command"]
    assert "--enforce-eager" in cpu
    assert cpu[cpu.index("--gpu-memory-utilization") + 1] == "0.1"


def test_the_service_of_a_judge_finds_its_pods(rendered: Render) -> None:
    manifests = rendered("rl")
    service, deployment = one(manifests, "Service"), one(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for chosen in (service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]):
        assert chosen.items() <= labels.items()
        # Selectors never change: a new attempt is the same Deployment.
        assert "assay.dev/attempt" not in chosen


@pytest.mark.parametrize(
    ("model", "timeout", "seconds"),
    [
        ("s3://m/SophiaVL-R1-Thinking-Reward-Model-3B", 600, 600),
        ("s3://m/Qwen2.5-VL-72B-Instruct", 600, 2160),
        ("s3://m/qwen-0.5b", 20, 20),
        ("s3://m/Qwen2.5-VL-72B-Instruct", 3600, 3600),
        ("s3://m/huge-550b", 600, 7200),
        ("s3://m/model", 45.5, 46),
        ("s3://store/stages/big-72b/model", 600, 600),
    ],
)
def test_a_server_has_the_time_that_its_size_needs(
    model: str, timeout: float, seconds: int
) -> None:
    orders = ServeOrders(
        name="judge",
        model=model,
        num_frames=4,
        max_model_length_tokens=8192,
        precision="BFloat16",
        port=0,
        start_timeout_seconds=timeout,
    )
    assert start_budget_seconds(orders) == seconds


def test_the_startup_probe_has_that_budget(rendered: Render) -> None:
    deployment = one(rendered("small", "cpu"), "Deployment")
    probe = container(deployment)["startupProbe"]
    # startTimeoutSeconds is 120.
    assert probe["periodSeconds"] * probe["failureThreshold"] == 120
    assert deployment["spec"]["progressDeadlineSeconds"] > 120


def test_pods_may_talk_to_nobody_but_whom_they_need(rendered: Render) -> None:
    stage, judge = (m["spec"] for m in rendered("rl", "everything") if m["kind"] == "NetworkPolicy")
    own = {"podSelector": {"matchLabels": stage["podSelector"]["matchLabels"]}}
    assert stage["podSelector"]["matchLabels"] == {
        "assay.dev/kind": "TrainingStage",
        "assay.dev/name": "advanced",
    }
    assert stage["policyTypes"] == judge["policyTypes"] == ["Ingress", "Egress"]
    assert stage["ingress"][0] == {"from": [own]}
    metrics, kuberay = stage["ingress"][1:]
    assert metrics == {
        "from": [{"namespaceSelector": {}}],
        "ports": [
            {"protocol": "TCP", "port": 9100, "endPort": 9115},
            {"protocol": "TCP", "port": 8080},
        ],
    }
    assert [port["port"] for port in kuberay["ports"]] == [8265]
    served = {"assay.dev/kind": "RewardModel", "assay.dev/name": "sophiavl"}
    assert stage["egress"] == [
        {"to": [own]},
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"ports": [{"protocol": "TCP", "port": 8443}]},
        {
            "to": [{"podSelector": {"matchLabels": served}}],
            "ports": [{"protocol": "TCP", "port": 8000}],
        },
        {"ports": [{"protocol": "TCP", "port": 9443}]},
    ]
    assert judge["podSelector"]["matchLabels"] == served
    assert judge["ingress"][2] == {
        "from": [{"podSelector": {"matchLabels": {"assay.dev/kind": "TrainingStage"}}}],
        "ports": [{"protocol": "TCP", "port": 8000}],
    }
    prometheus = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    assert judge["ingress"][3] == {
        "from": [{"namespaceSelector": {}, "podSelector": prometheus}],
        "ports": [{"protocol": "TCP", "port": 8000}],
    }


def test_a_judge_elsewhere_is_reached_at_its_port_and_runs_nothing_here(rendered: Render) -> None:
    text = """
kind: TrainingStage
metadata: {name: stage}
spec:
  model: {uri: s3://m}
  dataset: clips
  rl: {steps: 1}
  rewards: [{type: Thinking, rewardModel: far}]
---
kind: RewardModel
metadata: {name: far}
spec: {endpoint: {url: "https://judge.example/v1", model: sophia}}
"""
    manifests = rendered(text)
    assert [m["kind"] for m in manifests] == ["ConfigMap", "NetworkPolicy", "RayJob"]
    policy = one(manifests, "NetworkPolicy")["spec"]
    assert policy["egress"][3] == {"ports": [{"protocol": "TCP", "port": 443}]}


def test_without_network_policies_there_are_none(rendered: Render) -> None:
    manifests = rendered("sft", networkPolicies=False)
    assert [m["kind"] for m in manifests] == ["ConfigMap", "PyTorchJob"]


def test_collecting_without_anything_to_collect_is_refused(rendered: Render, tmp_path: Any) -> None:
    from assay_api.errors import InvalidInput
    from assay_trainer.cli.train import train_command

    orders = tmp_path / "orders.json"
    orders.write_text(rendered("sft")[0]["data"]["orders.json"])
    with pytest.raises(InvalidInput, match=r"has no spec\.fusion, nothing to collect"):
        train_command(orders, collect_only=True)
