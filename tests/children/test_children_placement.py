"""How processes are spread over pods, what a pod gets of its node, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId
from assay_operator.children.owner import Manifest
from assay_operator.children.rules import pod_templates
from assay_operator.children.schedules import least_period_seconds

Render = Callable[..., list[Manifest]]

SFT = """
kind: TrainingStage
metadata: {name: stage}
spec:
  model: {uri: s3://m/Qwen2.5-VL-7B}
  dataset: clips
  sft: {task: T, steps: 1, examplesPerStep: %(learners)d}
  placement: {pool: %(pool)s, learners: %(learners)d}
"""
RL = """
kind: TrainingStage
metadata: {name: stage}
spec:
  model: {uri: s3://m/Qwen2.5-VL-7B}
  dataset: clips
  rl: {steps: 1}
  rewards: [{type: Accuracy}]
  placement: {learners: %(learners)d, rollouts: %(rollouts)d}
"""


def sft(learners: int, pool: str = "default") -> str:
    return SFT % {"learners": learners, "pool": pool}


def rl(learners: int, rollouts: int) -> str:
    return RL % {"learners": learners, "rollouts": rollouts}


def pools(**of_default: Any) -> dict[str, Any]:
    """Return node pools: `default` with these settings, and one of CPUs."""
    given = {"gpusPerNode": 8, "gpuMemoryGib": 40, "nodes": 4, "cpus": 96, "memoryGib": 960}
    cpu = {"nodes": 2, "cpus": 16, "memoryGib": 64}
    return {"default": {**given, "shmGib": 64, **of_default}, "cpu": cpu}


def resources(manifest: Manifest) -> list[dict[str, str]]:
    containers = [t["spec"]["containers"][0] for _, t in pod_templates(manifest)]
    return [container["resources"]["limits"] for container in containers]


@pytest.mark.parametrize(
    ("learners", "pods", "per_pod"),
    [(1, 1, 1), (3, 1, 3), (8, 1, 8), (12, 2, 6), (16, 2, 8), (20, 4, 5), (24, 3, 8)],
)
def test_learners_lie_in_the_fewest_equal_pods_that_fit_a_node(
    learners: int, pods: int, per_pod: int, rendered: Render
) -> None:
    job = rendered(sft(learners))[-1]["spec"]
    assert job["nprocPerNode"] == str(per_pod)
    replicas = {role: spec["replicas"] for role, spec in job["pytorchReplicaSpecs"].items()}
    assert replicas == ({"Master": 1, "Worker": pods - 1} if pods > 1 else {"Master": 1})


def test_a_pod_with_gpus_has_the_same_share_of_all_else(rendered: Render) -> None:
    (whole,) = resources(rendered(sft(8), nodePools=pools())[-1])
    (quarter,) = resources(rendered(sft(2), nodePools=pools())[-1])
    assert whole == {"cpu": "96", "memory": "960Gi", "nvidia.com/gpu": "8"}
    assert quarter == {"cpu": "24", "memory": "240Gi", "nvidia.com/gpu": "2"}
    (template,) = [t for _, t in pod_templates(rendered(sft(2), nodePools=pools())[-1])]
    shm = next(v for v in template["spec"]["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}


def test_a_pod_asks_for_its_share_of_the_disk_and_is_held_to_it(rendered: Render) -> None:
    job = rendered(rl(2, 6), nodePools=pools(diskGib=800))[-1]
    templates = [template for _, template in pod_templates(job)]
    asked = {}
    for template in templates:
        (container,) = template["spec"]["containers"]
        resources = container["resources"]
        disk = resources["limits"].get("ephemeral-storage")
        assert resources["requests"].get("ephemeral-storage") == disk
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        volumes = {v["name"]: v.get("emptyDir") for v in template["spec"]["volumes"]}
        assert volumes["tmp"] == volumes["home"] == ({"sizeLimit": disk} if disk else {})
        asked[component] = disk
    # A quarter and three quarters of 800 GiB; the other pool tells of none.
    assert asked == {"learner": "200Gi", "rollout": "600Gi", "head": None, "submitter": None}


def test_a_pool_that_is_the_cpu_pool_too_keeps_a_quarter_free(rendered: Render) -> None:
    both = {"nodePools": {"default": pools()["default"]}, "cpuPool": "default"}
    job = rendered(rl(4, 4), **both)[-1]
    submitter, head, learner, rollout = resources(job)
    assert learner == rollout == {"cpu": "36", "memory": "360Gi", "nvidia.com/gpu": "4"}
    # Enough for a head, a thirtieth of this node, and little for what only follows a log.
    assert (head["memory"], submitter["memory"]) == ("32Gi", "1Gi")


def test_on_cpus_each_learner_has_a_pod_of_its_own(rendered: Render) -> None:
    made = rendered(sft(4), accelerator="Cpu", nodePools=pools(nodes=1))[-1]["spec"]
    assert made["nprocPerNode"] == "1"
    assert made["pytorchReplicaSpecs"]["Worker"]["replicas"] == 3


def test_on_one_node_of_cpus_a_stage_fits_beside_its_judge(rendered: Render) -> None:
    manifests = rendered("small", "cpu")
    asked = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"][
            "containers"
        ][0]["resources"]["requests"]
        for manifest in manifests
        for _, template in pod_templates(manifest)
        if manifest["kind"] in ("RayJob", "Deployment")
    }
    # Of 8 cores and 32 GiB: an eighth, a quarter for each of the three, and little.
    assert asked == {
        "submitter": {"cpu": "250m", "memory": "1Gi"},
        "head": {"cpu": "1", "memory": "4Gi"},
        "learner": {"cpu": "2", "memory": "8Gi"},
        "rollout": {"cpu": "2", "memory": "8Gi"},
        "judge": {"cpu": "2", "memory": "8Gi"},
    }


def test_the_groups_of_a_ray_cluster_have_resources_of_their_own(rendered: Render) -> None:
    spec = rendered(rl(8, 12), nodePools=pools())[-1]["spec"]["rayClusterSpec"]
    found = {g["groupName"]: (g["replicas"], g["resources"]) for g in spec["workerGroupSpecs"]}
    assert found == {
        "learners": (1, {"CPU": "9", "learner": "8", "GPU": "8"}),
        "rollouts": (2, {"CPU": "7", "rollout": "6", "GPU": "6"}),
    }
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_the_objects_of_ray_fit_into_shared_memory(rendered: Render) -> None:
    spec = rendered(rl(8, 8), nodePools=pools())[-1]["spec"]["rayClusterSpec"]
    for group in spec["workerGroupSpecs"]:
        # 80 % of 64 GiB; more than there is, and Ray would use the disk.
        assert group["rayStartParams"]["object-store-memory"] == str(int(0.8 * 64 * 2**30))


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (
            sft(1, pool="defualt"),
            {},
            "TrainingStage/stage: field spec.placement.pool: no node pool 'defualt'; there are: "
            "cpu, default; did you mean default?",
        ),
        (
            sft(1, pool="cpu"),
            {},
            "TrainingStage/stage: field spec.placement.pool: node pool 'cpu' has no GPUs, and the "
            "trainer image is built for them; pools with GPUs: default",
        ),
        (
            rl(32, 8),
            {},
            "TrainingStage/stage: field spec.placement: 32 learners and 8 rollouts in pods of 8, "
            "8, 8, 8, 8 GPUs need 5 nodes with 8 GPUs; node pool 'default' has 4: ask for fewer, "
            "or for numbers that fill nodes",
        ),
        (
            # 5 and 5 do not share a node of 8.
            rl(5, 5),
            {"nodePools": pools(nodes=1)},
            "TrainingStage/stage: field spec.placement: 5 learners and 5 rollouts in pods of 5, 5 "
            "GPUs need 2 nodes with 8 GPUs; node pool 'default' has 1: ask for fewer, or for "
            "numbers that fill nodes",
        ),
        (
            "kind: RewardModel\nmetadata: {name: j}\nspec: {model: {uri: s3://m}, pool: gpu}",
            {},
            "RewardModel/j: field spec.pool: no node pool 'gpu'; there are: cpu, default"
            "; did you mean cpu?",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    text: str, changes: dict[str, Any], message: str, rendered: Render
) -> None:
    with pytest.raises(InvalidInput) as error:
        rendered(text, **changes)
    assert str(error.value) == message


NIGHTLY = ResourceId("Evaluation", "nightly")


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("30 2 * * *", 86_400),
        ("0 */6 * * *", 21_600),
        ("*/15 * * * *", 900),
        ("0,50 * * * *", 600),
        ("10 1-3 * * 1", 3_600),
        ("5/30 8 * * *", 1_800),
        ("0 0 1 JAN *", 86_400),
    ],
)
def test_the_shortest_time_between_two_runs(schedule: str, seconds: int) -> None:
    assert least_period_seconds(NIGHTLY, schedule) == seconds


@pytest.mark.parametrize(
    ("schedule", "seconds"), [("* * * * *", 60), ("0,2 * * * *", 120), ("*/7 * * * *", 240)]
)
def test_a_schedule_that_is_due_too_often_is_refused(schedule: str, seconds: int) -> None:
    with pytest.raises(InvalidInput) as error:
        least_period_seconds(NIGHTLY, schedule)
    assert str(error.value) == (
        f"Evaluation/nightly: field spec.schedule: got {schedule!r}, which is due every {seconds} "
        "s; at least 300 s must lie between two runs, for example */5 * * * *"
    )


@pytest.mark.parametrize(
    ("schedule", "deadline"), [("30 2 * * *", 3600), ("*/5 * * * *", 240), ("0 * * * *", 3540)]
)
def test_a_late_start_is_allowed_for_less_than_a_period(
    schedule: str, deadline: int, rendered: Render
) -> None:
    text = (
        "kind: Evaluation\nmetadata: {name: nightly}\n"
        f"spec: {{model: {{uri: s3://m}}, dataset: clips, schedule: '{schedule}'}}"
    )
    job = rendered(text)[-1]
    assert (job["kind"], job["metadata"]["name"]) == ("CronJob", "evaluation-nightly")
    assert job["spec"]["startingDeadlineSeconds"] == deadline
    assert 200 <= deadline < least_period_seconds(NIGHTLY, schedule)
