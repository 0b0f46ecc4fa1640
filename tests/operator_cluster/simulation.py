"""An operator in a model cluster, and everything that may happen there."""

import json
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from model_cluster import JOBS, NAMESPACE, Killed, ModelCluster
from model_store import ModelStore

from assay_api import (
    Completion,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    StopRequest,
)
from assay_api.digest import evaluation_digest, spec_digest, stage_digest, stage_job_digest
from assay_api.layout import PLURALS, ResourceId
from assay_api.platform import Platform
from assay_operator.children.owner import LABEL_ATTEMPT, LABEL_KIND, Manifest
from assay_operator.cluster.act import Writer
from assay_operator.cluster.api import ApiError
from assay_operator.cluster.loop import Operator
from assay_operator.cluster.metrics import Metrics
from assay_operator.policies.evidence import evidence_of
from assay_operator.policies.suspension import STOP_PATIENCE_SECONDS

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
metadata: {name: nightly}
spec: {model: {fromStage: judge-training}, dataset: clips, schedule: "0 3 * * *"}
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
"""One stage and its dataset."""

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


OF_USER = ["judge-training", "advanced"]
"""Stages that are no pipeline's."""


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
        self.metrics = Metrics()
        self.operator = self.start()
        self.deaths = 0
        self.ends = ENDS if manifests == MANIFESTS else list(self.cluster.objects)
        self.answered = 0
        self.saved: dict[ResourceId, int] = {}
        self.losses: list[tuple[str, int]] = []
        self.store.on_write = self._maybe_die
        self.cluster.on_delete = self._check_patience

    def start(self) -> Operator:
        """Start the operator as a new process would: it remembers nothing."""
        self.metrics = metrics = Metrics()
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
        """Let the operator look once, at everything or at what events told of; time passes.

        Events come or are lost, and tell of things that have not changed.
        """
        ids = [ResourceId(*key) for key in self.cluster.objects if key[0] in PLURALS]
        poked = {(NAMESPACE, id_) for id_ in ids if self.rng.random() < 0.3}
        try:
            if self.rng.random() < 0.5 and self.operator.knows(poked):
                self.operator.glance(poked)
            else:
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
        result = f"digest-of-{owner.name}"
        if orders["kind"] == "DatasetJob":
            digest = spec_digest(ResolvedDatasetJob.model_validate(orders).dataset.spec)
        elif orders["kind"] == "EvaluationJob":
            evaluation = ResolvedEvaluationJob.model_validate(orders)
            assert evaluation.model is not None, "what runs here is no schedule's"
            result = evaluation.model.digest or ""
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
        self.prove(owner, digest, result)
        self.cluster.end(job, 0)

    def prove(self, owner: ResourceId, digest: str, result: str) -> None:
        """Write a completion."""
        completion = Completion(
            spec_digest=digest,
            digest=result,
            result="." if owner.kind == "Dataset" else "model",
            summary={"accuracy/think": 0.9},
        )
        self.store.keys[owner.completion_key] = completion.model_dump_json(by_alias=True).encode()

    def _maybe_die(self, key: str) -> None:
        if self.cluster.kill_at is not None and self.rng.random() < 0.3:
            raise Killed

    def stop_request(self, job: Manifest) -> StopRequest | None:
        """Return what asks a job to stop, as its program sees it."""
        if job["metadata"]["labels"][LABEL_KIND] != "TrainingStage":
            return None
        owner, attempt = self.cluster.owner(job), int(job["metadata"]["labels"][LABEL_ATTEMPT])
        found = self.store.keys.get(owner.stop_key(attempt))
        request = StopRequest.model_validate_json(found) if found else None
        uid = job["metadata"]["ownerReferences"][0]["uid"]
        return request if request and request.uid == uid else None

    def _check_patience(self, job: Manifest) -> None:
        """Check what must hold whenever the operator deletes: who was asked to stop has time."""
        request = self.stop_request(job) if job["kind"] in JOBS else None
        if request is None or self.cluster.owner(job).completion_key in self.store.keys:
            return
        if not evidence_of(job, self.cluster.pods_of(job)).ended:
            waited = self.cluster.now - request.requested_at.timestamp()
            assert waited >= STOP_PATIENCE_SECONDS, f"{job['metadata']['name']}: {waited} s"

    def answer(self, job: Manifest) -> None:
        """Let a job do what it is asked to: save the step that it is at, and end."""
        if self.stop_request(job) is None:
            return
        owner = self.cluster.owner(job)
        step = self.saved[owner] = self.step_of(owner)
        self.store.keys[f"{owner.folder}/checkpoints/step-{step:06d}/checkpoint.json"] = b"{}"
        self.answered += 1
        self.cluster.end(job, 0)

    def resume(self, job: Manifest) -> None:
        """Let a job's pods start, from the newest checkpoint; see what that costs."""
        if self.cluster.pods_of(job) or self.cluster.is_over(job):
            return
        owner, before = self.cluster.owner(job), "nothing"
        for record in self.cluster.status_of(*owner).get("attempts", ()):
            before = record["message"]
        lost = self.step_of(owner) - self.saved.get(owner, 0)
        self.losses.append((before, lost))
        self.tell(owner, self.saved.get(owner, 0))
        self.cluster.start_pods(job)

    def tell(self, owner: ResourceId, step: int) -> None:
        """Let a stage say how far it is."""
        progress = {"step": step, "total": 40, "doing": "", "metrics": {}}
        self.store.keys[owner.progress_key] = json.dumps(progress).encode()

    def step_of(self, owner: ResourceId) -> int:
        """Return how far a stage says it is."""
        progress = json.loads(self.store.keys.get(owner.progress_key, b'{"step": 0}'))
        return int(progress["step"])

    def happen(self) -> None:
        """Let one thing happen, out of everything that can."""
        if self.rng.random() < 0.5:
            self.cluster.settle()
        if self.rng.random() < 0.1:
            self.rng.choice(USER)(self)
        jobs = [j for j in self.cluster.jobs() if not j["metadata"].get("deletionTimestamp")]
        live = [job for job in jobs if not self.cluster.is_over(job)]
        if not live:
            return
        job = self.rng.choice(live)
        things = FOR_ALL
        if self.cluster.owner(job).kind == "TrainingStage":
            # The others have no budgets of their own, and would be used up.
            things = FOR_ALL + FOR_STAGES
        thing, needs_pods = self.rng.choice(things)
        if self.cluster.pods_live(job) or not needs_pods:
            thing(self, job)

    def replace_pod(self, job: Manifest) -> None:
        """Let a job lose a pod, and its own operator make another one."""
        self.cluster.now += 2
        self.cluster.remove(self.cluster.pods_of(job)[0])
        self.cluster.add_pod(job)

    def suspend(self, wanted: bool) -> None:
        """Let the user have a stage rest, or go on."""
        stage = self.cluster.objects["TrainingStage", self.rng.choice(OF_USER)]
        self.cluster.change_spec(stage, suspend=wanted)

    def change(self) -> None:
        """Let the user change what a pipeline is made of, and what a stage is worth."""
        stage = self.cluster.objects["TrainingStage", self.rng.choice(OF_USER)]
        budgets = {"preemption": 99, "infrastructure": 99, "application": self.rng.randint(90, 99)}
        self.cluster.change_spec(stage, retry=budgets)
        recipe = self.cluster.objects["TrainingPipeline", "recipe"]
        parts = [
            {**part, "spec": {**part["spec"], "retry": budgets}}
            for part in recipe["spec"]["stages"]
        ]
        self.cluster.change_spec(recipe, stages=parts)

    def anew(self) -> None:
        """Let the user delete a stage and apply it again under its name."""
        stage = self.cluster.objects["TrainingStage", self.rng.choice(OF_USER)]
        self.cluster.remove(stage)
        name = stage["metadata"]["name"]
        fresh = {k: v for k, v in stage.items() if k != "status"}
        self.cluster.add({**fresh, "metadata": {"name": name}})

    def step(self, job: Manifest) -> None:
        """Let a stage come further."""
        owner = self.cluster.owner(job)
        self.tell(owner, self.step_of(owner) + 1)

    def all_ended(self) -> bool:
        """Tell whether everything stands where it should in the end."""
        return all(self.cluster.reason(*end) == "Completed" for end in self.ends)

    def calm_down(self) -> None:
        """Let no more faults come, and the user want everything done."""
        cluster = self.cluster
        cluster.fault_rate, cluster.kill_at, cluster.conflict_every = 0.0, None, 0
        cluster.interloper, self.store.away = None, False
        for name in [*OF_USER, "alone"]:
            if ("TrainingStage", name) in cluster.objects:
                cluster.change_spec(cluster.objects["TrainingStage", name], suspend=False)

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


FOR_ALL: list[tuple[Callable[[Simulation, Manifest], None], bool]] = [
    *[(lambda s, job: s.cluster.start_pods(job), False)] * 4,
    (Simulation.step, True),
    (Simulation.succeed, True),
]
"""What may happen to a job, and whether it needs pods for that."""
FOR_STAGES: list[tuple[Callable[[Simulation, Manifest], None], bool]] = [
    (lambda s, job: s.cluster.end(job, 1), True),
    (lambda s, job: s.cluster.end(job, 137), True),
    (lambda s, job: s.cluster.end(job, 137, reason="OOMKilled"), True),
    (Simulation.replace_pod, True),
    *[(Simulation.answer, True)] * 4,
    (lambda s, job: s.cluster.remove(job), False),
    # It says that it has succeeded, and has no proof.
    (lambda s, job: s.cluster.end(job, 0), True),
]
"""What may happen besides to one that has budgets."""
USER: list[Callable[[Simulation], None]] = [
    lambda s: s.suspend(True),
    *[lambda s: s.suspend(False)] * 2,
    Simulation.change,
    Simulation.anew,
]
"""What the user may do."""
