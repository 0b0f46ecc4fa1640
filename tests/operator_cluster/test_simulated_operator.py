"""The whole operator against a model of a cluster in which everything goes wrong.

Each run draws its faults from one seed: calls that fail before or after their effect, deaths
between any two writes, children that vanish, are forged or replaced, a store that is away. While it
lasts, no resource has two live children and nothing that is done is done over. When the faults
cease, everything comes to its end.
"""

import json
import random
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from model_cluster import NAMESPACE, Killed, ModelCluster, ModelStore

from assay_api import (
    Completion,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
)
from assay_api.digest import evaluation_digest, spec_digest, stage_digest, stage_job_digest
from assay_api.layout import ResourceId
from assay_api.platform import Platform
from assay_operator.children.owner import LABEL_ATTEMPT, Manifest
from assay_operator.cluster.act import Writer
from assay_operator.cluster.api import ApiError
from assay_operator.cluster.loop import Operator
from assay_operator.cluster.metrics import Metrics

MANIFESTS = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: judge-training}
spec:
  model: {scratch: {}}
  freezeVisionTower: false
  dataset: clips
  sft: {task: Judge, steps: 4}
  retry: {preemption: 99, infrastructure: 99, application: 99}
---
kind: RewardModel
metadata: {name: judge}
spec: {model: {fromStage: judge-training}}
---
kind: TrainingPipeline
metadata: {name: recipe}
spec:
  stages:
    - name: foundation
      spec:
        model: {uri: "s3://models/base"}
        dataset: clips
        rl: {steps: 40}
        rewards: [{type: Accuracy}, {type: Thinking, rewardModel: judge}]
        retry: {preemption: 99, infrastructure: 99, application: 99}
    - name: fusion
      spec:
        model: {fromStage: foundation}
        dataset: clips
        fusion: {steps: 2}
        retry: {preemption: 99, infrastructure: 99, application: 99}
---
kind: Evaluation
metadata: {name: after}
spec: {model: {fromStage: recipe-fusion}, dataset: clips}
---
kind: TrainingStage
metadata: {name: advanced}
spec:
  model: {fromStage: recipe-fusion}
  dataset: clips
  sft: {task: Judge, steps: 2}
  gate: [{evaluation: after, minAccuracy: 0.7}]
  retry: {preemption: 99, infrastructure: 99, application: 99}
"""

PLATFORM = Platform.model_validate(
    {
        "store": {"url": "s3://bucket"},
        "images": {"trainer": "trainer:1", "data": "data:1"},
        "nodePools": {"default": {"nodes": 4}},
        "accelerator": "Cpu",
    }
)
ENDS = [
    ("Dataset", "clips"),
    ("TrainingStage", "judge-training"),
    ("TrainingStage", "recipe-foundation"),
    ("TrainingStage", "recipe-fusion"),
    ("TrainingStage", "advanced"),
    ("TrainingPipeline", "recipe"),
    ("Evaluation", "after"),
]


class Inline(Executor):
    """Runs everything at once and in order: a run is the same every time."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Simulation:
    """A cluster, a store, and an operator that may die."""

    def __init__(self, manifests: str = MANIFESTS, seed: int = 0) -> None:
        self.cluster = ModelCluster(manifests, seed)
        self.store = ModelStore()
        self.rng = random.Random(seed)
        self.operator = self.start()
        self.deaths = 0

    def start(self) -> Operator:
        """Start the operator as a new process would: it remembers nothing."""
        metrics = Metrics()
        writer = Writer(self.cluster, metrics, lambda: self.cluster.now)
        return Operator(
            self.cluster,
            writer,
            PLATFORM,
            lambda namespace: self.store,
            Inline(),
            metrics,
            lambda: self.cluster.now,
            (NAMESPACE,),
        )

    def tick(self) -> None:
        """Let the operator look once; time passes."""
        try:
            self.operator.tick()
        except ApiError:
            pass
        except Killed:
            self.deaths += 1
            self.operator = self.start()
        self.cluster.now += self.rng.choice([0.5, 2.0, 11.0])

    def orders(self, job: Manifest) -> dict[str, Any]:
        """Return what a job was told."""
        owner, attempt = self.cluster.owner(job), job["metadata"]["labels"][LABEL_ATTEMPT]
        configs = [
            o
            for (kind, _), o in self.cluster.objects.items()
            if kind == "ConfigMap"
            and self.cluster.owner(o) == owner
            and o["metadata"]["labels"][LABEL_ATTEMPT] == attempt
        ]
        found: dict[str, Any] = json.loads(configs[-1]["data"]["orders.json"])
        return found

    def dataset_digest(self, url: str) -> str:
        key = url.removeprefix(self.store.url + "/") + "/completion.json"
        return str(json.loads(self.store.keys[key])["digest"])

    def succeed(self, job: Manifest) -> None:
        """Let a job do its work: write its proof, then end."""
        owner, orders = self.cluster.owner(job), self.orders(job)
        if orders["kind"] == "DatasetJob":
            digest = spec_digest(ResolvedDatasetJob.model_validate(orders).dataset.spec)
        elif orders["kind"] == "EvaluationJob":
            evaluation = ResolvedEvaluationJob.model_validate(orders)
            dataset = self.dataset_digest(evaluation.dataset)
            digest = evaluation_digest(evaluation.evaluation.spec, evaluation.model.digest, dataset)
        else:
            stage = ResolvedStageJob.model_validate(orders)
            dataset = self.dataset_digest(stage.dataset)
            if self.cluster.role(job) == "Collect":
                identity = stage_job_digest(stage, dataset)
                self.store.keys[f"{owner.folder}/collected.json"] = json.dumps(
                    {"identity": identity}
                ).encode()
                self.cluster.end(job, 0)
                return
            model = stage.model.digest if stage.model else None
            digest = stage_digest(stage.stage.spec, model, dataset)
        self.prove(owner, digest)
        self.cluster.end(job, 0)

    def prove(self, owner: ResourceId, digest: str) -> None:
        """Write a completion."""
        completion = Completion(
            spec_digest=digest,
            digest=f"digest-of-{owner.name}",
            result="." if owner.kind == "Dataset" else "model",
            summary={"accuracy/think": 0.9},
        )
        self.store.keys[owner.completion_key] = completion.model_dump_json(by_alias=True).encode()

    def happen(self) -> None:
        """Let one thing happen, out of everything that can."""
        jobs = [j for j in self.cluster.jobs() if not j["metadata"].get("deletionTimestamp")]
        live = [job for job in jobs if not self.cluster.is_over(job)]
        if self.rng.random() < 0.5:
            self.cluster.settle()
        if not live:
            return
        job = self.rng.choice(live)
        running = self.cluster.pods_live(job)
        things = ["start"] * 4 + ["step", "succeed"]
        if self.cluster.owner(job).kind == "TrainingStage":
            # The others have no budgets of their own, and would be used up.
            things += ["fail", "kill", "oom", "replace", "vanish", "forge"]
        match self.rng.choice(things):
            case "start":
                self.cluster.start_pods(job)
            case "step" if running:
                self.step(job)
            case "succeed" if running:
                self.succeed(job)
            case "fail" if running:
                self.cluster.end(job, 1)
            case "kill" if running:
                self.cluster.end(job, 137)
            case "oom" if running:
                self.cluster.end(job, 137, reason="OOMKilled")
            case "replace" if running:
                self.cluster.now += 2
                pod = self.cluster.pods_of(job)[0]
                self.cluster.remove(pod)
                self.cluster.add_pod(job)
            case "vanish":
                self.cluster.remove(job)
            case "forge" if running:
                # It says that it has succeeded, and has no proof.
                self.cluster.end(job, 0)

    def step(self, job: Manifest) -> None:
        """Let a stage come further."""
        key = self.cluster.owner(job).progress_key
        before = json.loads(self.store.keys.get(key, b'{"step": 0}'))["step"]
        progress = {"step": before + 1, "total": 40, "doing": "", "metrics": {}}
        self.store.keys[key] = json.dumps(progress).encode()

    def all_ended(self) -> bool:
        return all(self.cluster.reason(*end) == "Completed" for end in ENDS)

    def finish_everything(self, ticks: int) -> None:
        """Let everything go well for a while."""
        for _ in range(ticks):
            if self.all_ended():
                return
            self.tick()
            self.cluster.settle()
            for job in self.cluster.jobs():
                if job["metadata"].get("deletionTimestamp") or self.cluster.is_over(job):
                    continue
                self.cluster.start_pods(job)
                self.succeed(job)


def test_everything_ends_where_nothing_goes_wrong() -> None:
    simulation = Simulation()
    simulation.finish_everything(200)
    assert simulation.all_ended()
    # One attempt each; fusion has one to collect and one to train.
    names = sorted(name for _, name in simulation.cluster.created)
    assert names == [
        "advanced-a1",
        "dataset-clips-a1",
        "evaluation-after-a1",
        "judge-training-a1",
        "recipe-foundation-a1",
        "recipe-fusion-a1",
        "recipe-fusion-a2",
    ]
    kinds = dict((name, kind) for kind, name in simulation.cluster.created)
    assert (kinds["recipe-fusion-a1"], kinds["recipe-fusion-a2"]) == ("RayJob", "PyTorchJob")
    status = simulation.cluster.status_of("TrainingStage", "recipe-fusion")
    assert (status["attempt"], status["modelDigest"]) == (2, "digest-of-recipe-fusion")
    assert status["failures"]["application"] == 0


@pytest.mark.parametrize("seed", range(40))
def test_everything_ends_whatever_went_wrong_before(seed: int) -> None:
    simulation = Simulation(seed=seed)
    cluster, rng = simulation.cluster, simulation.rng
    for _ in range(250):
        cluster.fault_rate = rng.choice([0.0, 0.0, 0.02, 0.2])
        simulation.store.away = rng.random() < 0.05
        if rng.random() < 0.1:
            cluster.kill_at = cluster.writes + rng.randint(1, 4)
        simulation.tick()
        simulation.happen()
    cluster.fault_rate, cluster.kill_at, simulation.store.away = 0.0, None, False
    simulation.finish_everything(300)
    assert simulation.all_ended(), {end: cluster.reason(*end) for end in ENDS}


def test_a_restart_writes_nothing_where_nothing_has_changed() -> None:
    simulation = Simulation()
    simulation.finish_everything(200)
    for _ in range(5):
        simulation.tick()
    before = simulation.cluster.writes
    simulation.operator = simulation.start()
    for _ in range(5):
        simulation.tick()
    assert simulation.cluster.writes == before


ALONE = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
---
kind: TrainingStage
metadata: {name: alone}
spec:
  model: {uri: "s3://models/base"}
  dataset: clips
  sft: {task: Judge, steps: 4}
"""


def test_the_writes_of_a_stage_are_few() -> None:
    simulation = Simulation(ALONE)
    for _ in range(20):
        simulation.tick()
        for job in simulation.cluster.jobs():
            if simulation.cluster.is_over(job):
                continue
            if simulation.cluster.pods_live(job):
                simulation.succeed(job)
            else:
                simulation.cluster.start_pods(job)
    assert simulation.cluster.reason("TrainingStage", "alone") == "Completed"
    writes = [line for line in simulation.cluster.log if "alone" in line and "Event" not in line]
    assert [line.rpartition(" ")[0] for line in writes] == [
        "status TrainingStage",  # it waits for its dataset
        "create ConfigMap",
        "create NetworkPolicy",
        "create PyTorchJob",
        "status TrainingStage",  # it runs
        "status TrainingStage",  # it has ended
    ]
