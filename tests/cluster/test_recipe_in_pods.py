"""The shipped recipe in pods: from videos to an evaluated detector, as its users apply it."""

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_api import Object
from cluster_user import User
from installed_assay import NAMESPACE as SYSTEM_NAMESPACE
from installed_assay import VALUES, install_assay, wait_for_assay
from node_images import PROJECT
from pod_processes import held, processes_of

from assay_data.store import Store, open_store

TINY = PROJECT / "manifests/recipes/busterx-plusplus/tiny"
SCHEDULED = PROJECT / "manifests/samples/scheduled-evaluation/tiny/nightly.yaml"
STAGES = ("base", "foundation", "judge-training", "fusion", "advanced")
SHORT = {
    "videos": {"source": {"synthetic": {"numVideos": 96, "widthPixels": 56}}},
    "base": {"sft": {"steps": 80}, "checkpoint": {"every": 40}},
    "foundation": {
        "rl": {"steps": 8, "promptsPerStep": 8, "validation": {"every": 8, "maxClips": 8}},
        "checkpoint": {"every": 1},
    },
    "fusion": {"fusion": {"steps": 4, "maxExamples": 32}},
    "advanced": {
        "rl": {"steps": 2, "promptsPerStep": 8, "validation": {"every": 2, "maxClips": 8}},
    },
    "judge-training": {"sft": {"steps": 40}, "checkpoint": {"every": 40}},
    "held-out": {"maxClips": 8},
}
"""Fewer clips and steps: enough to go through everything, too few to learn much."""
NIGHTLY = "nightly"
_STAGE_SECONDS = 900.0
_SCHEDULE_SECONDS = 420.0
"""It is due every five minutes."""


@dataclass
class Run:
    """The recipe as it went."""

    user: User
    pods: dict[str, Object] = field(default_factory=dict)
    """Every pod that was seen, as it was last."""
    middle: dict[str, Any] = field(default_factory=dict)
    """What was looked at while the foundation stage ran."""

    def components(self, stage: str) -> dict[str, int]:
        """Return how many pods of each component a stage had."""
        found: dict[str, int] = {}
        for pod in self.pods.values():
            labels = pod["metadata"]["labels"]
            if labels.get("assay.dev/name") == stage:
                component = labels["app.kubernetes.io/component"]
                found[component] = found.get(component, 0) + 1
        return found


@pytest.fixture(scope="module")
def run(recipe_user: User, whole_recipe: bool, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Apply the recipe, look at it in its middle, and return when everything has finished."""
    found, over = Run(recipe_user), threading.Event()
    watch = threading.Thread(target=_watch, args=(found, over), daemon=True)
    watch.start()
    recipe_user.apply(_manifests(TINY.glob("*.yaml"), whole_recipe))
    recipe_user.apply(SCHEDULED)
    for stage in STAGES:
        if stage == "judge-training":
            continue
        if stage == "foundation":
            _look_at_the_middle(found, tmp_path_factory.mktemp("reports"))
        recipe_user.wait_for("TrainingStage", stage, seconds=_STAGE_SECONDS)
    recipe_user.wait_for("Evaluation", "held-out", seconds=_STAGE_SECONDS)
    recipe_user.wait_until(
        "the schedule has evaluated a checkpoint",
        lambda: recipe_user.status("Evaluation", NIGHTLY).get("modelDigest"),
        seconds=_SCHEDULE_SECONDS,
    )
    over.set()
    watch.join()
    return found


def _manifests(files: Iterable[Path], whole: bool) -> str:
    """Return the manifests of files as they are, or in their short form."""
    texts = []
    for path in sorted(files):
        for manifest in yaml.safe_load_all(path.read_text()):
            changes = {} if whole else SHORT.get(manifest["metadata"]["name"], {})
            for name, change in changes.items():
                if isinstance(change, dict):
                    change = {**manifest["spec"].get(name, {}), **change}
                manifest["spec"][name] = change
            texts.append(yaml.safe_dump(manifest))
    return "---\n".join(texts)


def _watch(run: Run, over: threading.Event) -> None:
    """Remember every pod until the run is over."""
    while not over.is_set():
        for pod in run.user.pods():
            run.pods[pod["metadata"]["name"]] = pod
        time.sleep(1.0)


def _look_at_the_middle(run: Run, folder: Path) -> None:
    """Look at a stage while it runs, and upgrade the operator under it."""
    user = run.user
    user.wait_for_checkpoint("foundation", 1, seconds=_STAGE_SECONDS)
    before = {pod["metadata"]["uid"] for pod in user.pods_of("foundation", "learner")}
    metrics = {p["metadata"]["name"]: _metrics(user, p) for p in user.pods() if _runs(p)}
    engine = processes_of(user.running_pod("foundation", "rollout"), "ray::RolloutEngine")
    # The rest takes longer than the short form of the stage: its learner waits for its engine.
    with held(engine):
        submitter = user.pods_of("foundation", "submitter")[0]
        run.middle = {
            "table": user.kubectl("get", "tstage", "foundation"),
            "metrics": metrics,
            "explained": user.explain("tstage/foundation"),
            "report": user.report(folder / "middle.html"),
            "operator_metrics": _metrics(user, _operator(user)),
            "log": user.kubectl("logs", submitter["metadata"]["name"]),
        }
        upgraded = {**VALUES, "operator": {"podLabels": {"upgraded": "yes"}}}
        install_assay(user.cluster, tag_of(_operator(user)), **upgraded)
        wait_for_assay(user.cluster)
        after = {pod["metadata"]["uid"] for pod in user.pods_of("foundation", "learner")}
    run.middle["learners"] = (before, after)


def tag_of(pod: Object) -> str:
    """Return the tag of a pod's image."""
    image: str = pod["spec"]["containers"][0]["image"]
    return image.rpartition(":")[2]


def _operator(user: User) -> Object:
    selector = "app.kubernetes.io/name=assay-operator"
    pods = user.api.items("v1", "Pod", SYSTEM_NAMESPACE, labelSelector=selector)
    return next(pod for pod in pods if _runs(pod))


def _runs(pod: Object) -> bool:
    return bool(pod["status"].get("phase") == "Running")


def _metrics(user: User, pod: Object) -> str:
    """Return what a pod's port called `metrics` or `http` answers; nothing: it has none."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") in ("metrics", "http"):
                url = f"http://{pod['status']['podIP']}:{port['containerPort']}/metrics"
                return str(user.wait_until(f"answer of {url}", partial(_answer, url), seconds=60))
    return ""


def _answer(url: str) -> str | None:
    """Return what a URL answers; nothing: a pod that has just begun does not listen yet."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        raise


def test_every_stage_succeeds_and_its_model_is_recorded(run: Run) -> None:
    for stage in STAGES:
        status = run.user.status("TrainingStage", stage)
        assert status["step"] == status["totalSteps"] == status["checkpoint"], stage
        assert status["attempt"] >= 1
        assert status["modelDigest"] == run.user.store().digest(f"stages/{stage}/model")


@pytest.fixture(scope="module")
def on_this_machine(whole_recipe: bool, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of `assay run` with the same manifests, up to the first stage of RL."""
    folder = tmp_path_factory.mktemp("on-this-machine")
    first = [path for path in TINY.glob("*.yaml") if path.name < "30"]
    (folder / "recipe.yaml").write_text(_manifests(first, whole_recipe))
    command = [sys.executable, "-m", "assay_trainer.cli.main", "run"]
    files = ["-f", str(folder / "recipe.yaml"), "--store", str(folder / "store")]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, timeout=_STAGE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return open_store(str(folder / "store"))


def test_pods_give_the_weights_that_one_machine_gives(run: Run, on_this_machine: Store) -> None:
    for stage in ("base", "foundation"):
        model = f"stages/{stage}/model"
        assert run.user.store().digest(model) == on_this_machine.digest(model), stage


def test_the_evaluation_tells_which_model_it_evaluated(run: Run) -> None:
    status = run.user.status("Evaluation", "held-out")
    model = run.user.status("TrainingStage", "advanced")["modelDigest"]
    assert status["modelDigest"] == model
    assert set(status["accuracy"]) == {"Think", "NoThink"}
    assert all(0 <= value <= 1 for value in status["accuracy"].values())
    assert run.user.store().exists("evaluations/held-out/result.json")


def test_stages_run_as_the_jobs_that_the_documentation_names(run: Run) -> None:
    jobs = {(m["kind"], m["metadata"]["name"]) for m in _jobs(run.user)}
    attempt = {s: run.user.status("TrainingStage", s)["attempt"] for s in STAGES}
    for stage in ("foundation", "advanced"):
        assert ("RayJob", f"{stage}-a{attempt[stage]}") in jobs
        found = run.components(stage)
        assert {"head", "learner", "rollout", "submitter"} <= set(found), stage
    # Fusion samples on Ray first, and learns in a PyTorchJob of two pods then.
    assert ("PyTorchJob", f"fusion-a{attempt['fusion']}") in jobs
    found = run.components("fusion")
    assert found["learner"] == 2 and {"head", "rollout", "submitter"} <= set(found)
    assert ("PyTorchJob", f"base-a{attempt['base']}") in jobs
    assert ("Job", "dataset-videos-a1") in jobs
    assert run.components("judge") == {"judge": 1}


def _jobs(user: User) -> list[Object]:
    kinds = (("ray.io/v1", "RayJob"), ("kubeflow.org/v1", "PyTorchJob"), ("batch/v1", "Job"))
    return [m for version, kind in kinds for m in user.api.items(version, kind, user.namespace)]


def _owners(manifest: Object) -> list[Object]:
    owners: list[Object] = manifest["metadata"].get("ownerReferences", [])
    return owners


def test_the_schedule_fired_and_evaluated_what_was_new(run: Run) -> None:
    status = run.user.status("Evaluation", NIGHTLY)
    jobs = run.user.api.items("batch/v1", "Job", run.user.namespace)
    owners = [(o["kind"], o["name"]) for job in jobs for o in _owners(job)]
    assert ("CronJob", f"evaluation-{NIGHTLY}") in owners
    results = run.user.store().list(f"evaluations/{NIGHTLY}/results")
    assert results
    final = run.user.status("TrainingStage", "foundation")["modelDigest"]
    if status["modelDigest"] != final:
        assert 1 <= status["step"] <= run.user.status("TrainingStage", "foundation")["totalSteps"]


def test_the_namespace_enforces_pod_security_and_learners_are_in_it(run: Run) -> None:
    namespace = run.user.api.get("v1", "Namespace", run.user.namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {"learner", "rollout", "judge", "dataset", "evaluation"} <= {
        pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in run.pods.values()
    }


def test_kubectl_get_shows_how_far_a_running_stage_is(run: Run) -> None:
    header, row = (line.split() for line in run.middle["table"].splitlines())
    found = dict(zip(header, row, strict=False))
    assert found["NAME"] == "foundation" and found["REASON"] == "Running"
    assert int(found["ATTEMPT"]) == 1 and int(found["STEP"]) >= 0


def test_every_pod_at_work_answers_prometheus(run: Run) -> None:
    metrics = run.middle["metrics"]
    by_component = {
        run.pods[name]["metadata"]["labels"]["app.kubernetes.io/component"]: text
        for name, text in metrics.items()
        if name in run.pods
    }
    assert "assay_progress_done" in by_component["learner"]
    assert "assay_rollout_generated_tokens_total" in by_component["rollout"]
    assert "ray_" in by_component["head"]
    assert "assay_operator_resources" in run.middle["operator_metrics"]


def test_a_running_stage_is_explained_and_reported(run: Run) -> None:
    assert "TrainingStage/foundation: Running" in run.middle["explained"]
    assert "foundation" in run.middle["report"] and "<html" in run.middle["report"]
    assert "step 1" in run.middle["log"]


def test_an_upgrade_of_the_operator_disturbs_no_running_stage(run: Run) -> None:
    before, after = run.middle["learners"]
    assert before == after and len(before) == 1
    assert run.user.status("TrainingStage", "foundation")["attempt"] == 1


def test_pods_of_a_finished_stage_are_gone(run: Run) -> None:
    for stage in ("foundation", "advanced"):
        assert [p for p in run.user.pods_of(stage, "learner") if _runs(p)] == []
    assert run.user.api.items("ray.io/v1", "RayCluster", run.user.namespace) == []


def test_a_gate_that_fails_holds_the_stage_and_says_so(run: Run) -> None:
    evaluation = yaml.safe_load((TINY / "60-evaluation.yaml").read_text())
    evaluation["metadata"]["name"] = "untrained"
    # Its answers are drawn at random.
    evaluation["spec"] |= {"model": {"fromStage": "base"}, "maxClips": 16, "modes": ["Think"]}
    gated = yaml.safe_load((TINY / "20-foundation.yaml").read_text())
    gated["metadata"]["name"] = "gated"
    gated["spec"]["gate"] = [{"evaluation": "untrained", "minAccuracy": 0.99}]
    run.user.apply(yaml.safe_dump_all([evaluation, gated]))
    run.user.wait_for("Evaluation", "untrained")
    accuracy = run.user.status("Evaluation", "untrained")["accuracy"]["Think"]
    says = f"Evaluation/untrained has accuracy {accuracy:.3f} in mode Think, minAccuracy is 0.99"

    def held() -> bool:
        found = run.user.condition("TrainingStage", "gated", "Blocked")
        return found.get("reason") == "GateNotPassed" and says in found["message"]

    run.user.wait_until(f"gated says: {says}", held, seconds=60)


def test_deletion_leaves_the_checkpoints(run: Run) -> None:
    steps = run.user.steps("foundation")
    assert steps
    run.user.kubectl("delete", "tstage", "foundation")
    assert run.user.steps("foundation") == steps
