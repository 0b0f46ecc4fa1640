"""Plays what containers do: writes into the object store what the real ones write."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from cluster_api import ClusterApi
from fake_kubelet import FakeKubelet
from minio import Minio
from minio.error import S3Error
from pod_behaviours import Behaviour, Ends
from third_party import ThirdParty

from assay_api import (
    Completion,
    ResolvedDatasetJob,
    ResolvedEvaluationJob,
    ResolvedStageJob,
    StopRequest,
)
from assay_api.digest import evaluation_digest, spec_digest, stage_digest, stage_job_digest
from assay_api.layout import ResourceId
from assay_operator.children.owner import LABEL_ATTEMPT, LABEL_KIND, LABEL_NAME, LABEL_ROLE

Object = dict[str, Any]
API = "assay.dev/v1alpha1"
SFT = {"task": "Describe", "steps": 40}
JOBS = {"PyTorchJob": "kubeflow.org/v1", "RayJob": "ray.io/v1", "Job": "batch/v1"}


class Player:
    """Lets the workloads of one namespace do their part."""

    def __init__(
        self,
        api: ClusterApi,
        kubelet: FakeKubelet,
        third_party: ThirdParty,
        client: Minio,
        place: tuple[str, str],
    ) -> None:
        self.api, self.kubelet, self.third_party, self.client = api, kubelet, third_party, client
        self.bucket, self.prefix = place
        self.namespace = self.prefix.rpartition("/")[2]

    # ------------------------------------------------------------------ looking

    def resource(self, kind: str, name: str) -> Object:
        return self.api.get(API, kind, name, self.namespace)

    def attempts(self, name: str) -> list[tuple[int, str | None, int | None]]:
        """Return number, failure and exit code of a stage's recorded attempts."""
        status = self.resource("TrainingStage", name)["status"]
        return [
            (r["number"], r.get("failure"), r.get("exitCode")) for r in status.get("attempts", ())
        ]

    def message(self, kind: str, name: str) -> str:
        """Return what the condition Ready says."""
        conditions = self.resource(kind, name)["status"]["conditions"]
        return next(str(c["message"]) for c in conditions if c["type"] == "Ready")

    def reason(self, kind: str, name: str) -> str:
        conditions = self.resource(kind, name).get("status", {}).get("conditions", ())
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    def wait_for_reason(self, kind: str, name: str, reason: str, seconds: float = 60) -> Object:
        self.api.wait(
            f"{kind} {name} is {reason}",
            lambda: self.reason(kind, name) == reason,
            seconds=seconds,
            shown=lambda: self.resource(kind, name).get("status"),
        )
        return self.resource(kind, name)

    def jobs(self, name: str) -> list[Object]:
        """Return the jobs of a resource that are not on their way out, oldest attempt first."""
        found = [
            job
            for kind, version in JOBS.items()
            for job in self.api.items(
                version, kind, self.namespace, labelSelector=f"{LABEL_NAME}={name}"
            )
            if "deletionTimestamp" not in job["metadata"]
        ]
        return sorted(found, key=lambda job: int(job["metadata"]["labels"][LABEL_ATTEMPT]))

    def wait_for_job(self, name: str, attempt: int = 1, seconds: float = 60) -> Object:
        """Return the job of an attempt, once its pods run."""

        def running() -> Object | None:
            found = [
                j for j in self.jobs(name) if j["metadata"]["labels"][LABEL_ATTEMPT] == str(attempt)
            ]
            if not found or not all(p["status"]["phase"] == "Running" for p in self.pods(found[0])):
                return None
            return found[0] if self.pods(found[0]) else None

        job: Object = self.api.wait(
            f"attempt {attempt} of {name} runs", running, seconds, shown=lambda: self._shown(name)
        )
        return job

    def _shown(self, name: str) -> dict[str, object]:
        jobs = self.jobs(name)
        pods = [pod for job in jobs for pod in self.pods(job)]
        found = [*jobs, *pods]
        return {o["metadata"]["name"]: o.get("status") for o in found}

    def pods(self, job: Object) -> list[Object]:
        labels = job["metadata"]["labels"]
        selector = ",".join(
            f"{key}={labels[key]}" for key in (LABEL_KIND, LABEL_NAME, LABEL_ATTEMPT)
        )
        return self.api.items("v1", "Pod", self.namespace, labelSelector=selector)

    def orders(self, job: Object) -> Object:
        labels = job["metadata"]["labels"]
        selector = ",".join(
            f"{key}={labels[key]}" for key in (LABEL_KIND, LABEL_NAME, LABEL_ATTEMPT)
        )
        (config,) = self.api.items("v1", "ConfigMap", self.namespace, labelSelector=selector)
        found: Object = json.loads(config["data"]["orders.json"])
        return found

    # ------------------------------------------------------------------ doing

    def apply(self, kind: str, name: str, spec: Object) -> Object:
        """Apply a resource as `kubectl apply --server-side` does."""
        metadata = {"name": name, "namespace": self.namespace}
        manifest = {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
        return self.api.apply(manifest)

    def apply_files(self, folder: Path) -> None:
        """Apply all manifests of a folder."""
        for file in sorted(folder.glob("*.yaml")):
            for manifest in yaml.safe_load_all(file.read_text()):
                self.apply(manifest["kind"], manifest["metadata"]["name"], manifest["spec"])

    def apply_stage(self, name: str, **spec: Any) -> Object:
        """Apply a stage that learns from examples, of a dataset that is finished."""
        self.finish("Dataset", "clips")
        source = {"model": {"uri": "s3://models/base"}, "dataset": "clips"}
        method = {} if {"rl", "fusion"} & set(spec) else {"sft": SFT}
        return self.apply("TrainingStage", name, {**source, **method, **spec})

    def finish(self, kind: str, name: str, **summary: object) -> None:
        """Write the proof of something that was made at another time."""
        owner = ResourceId(kind, name)
        proof = Completion(
            spec_digest="another time's", digest=f"digest-of-{name}", result=".", summary=summary
        )
        self.write(owner.completion_key, proof.model_dump(mode="json", by_alias=True))

    def change(self, kind: str, name: str, spec: Object) -> None:
        """Change fields of a resource's spec."""
        self.api.patch(self.resource(kind, name), {"spec": spec})

    def delete(self, kind: str, name: str) -> None:
        """Delete a resource."""
        self.api.delete(self.resource(kind, name))

    def write(self, key: str, value: object) -> None:
        data = json.dumps(value).encode()
        self.client.put_object(self.bucket, f"{self.prefix}/{key}", io.BytesIO(data), len(data))

    def end(self, job: Object, behaviour: Behaviour = Ends()) -> None:  # noqa: B008
        """End an attempt's pods; of a Ray job, let the dashboard tell."""
        labels = job["metadata"]["labels"]
        if job["kind"] != "RayJob":
            wanted = {key: labels[key] for key in (LABEL_KIND, LABEL_NAME, LABEL_ATTEMPT)}
            self.kubelet.when(behaviour, self.namespace, labels=wanted)
            return
        code = behaviour.exit_code if isinstance(behaviour, Ends) else 1
        self.third_party.end_ray_job(
            self.namespace,
            job["metadata"]["name"],
            "FAILED" if code else "SUCCEEDED",
            f"Job entrypoint command failed with exit code {code}" if code else "",
        )

    def succeed(self, job: Object, accuracy: float = 0.9) -> None:
        """Write an attempt's proof, and end it."""
        self.prove(job, accuracy)
        self.end(job)

    def prove(self, job: Object, accuracy: float = 0.9) -> None:
        """Write an attempt's proof."""
        owner = ResourceId(
            job["metadata"]["labels"][LABEL_KIND], job["metadata"]["labels"][LABEL_NAME]
        )
        orders = self.orders(job)
        if job["metadata"]["labels"][LABEL_ROLE] == "Collect":
            stage = ResolvedStageJob.model_validate(orders)
            identity = stage_job_digest(stage, self._digest_of(stage.dataset))
            self.write(f"{owner.folder}/collected.json", {"identity": identity, "samples": []})
        else:
            completion = Completion(
                spec_digest=self._spec_digest(orders),
                digest=self._result_digest(owner, orders),
                result="." if owner.kind == "Dataset" else "model",
                summary={"accuracy/think": accuracy, "numRows": 8},
            )
            self.write(owner.completion_key, completion.model_dump(mode="json", by_alias=True))

    def stop_request(self, job: Object) -> StopRequest | None:
        """Return what asks an attempt of a stage to stop, as its program finds it."""
        labels = job["metadata"]["labels"]
        owner = ResourceId(labels[LABEL_KIND], labels[LABEL_NAME])
        found = self._read(owner.stop_key(int(labels[LABEL_ATTEMPT])))
        request = StopRequest.model_validate_json(found) if found else None
        uid = self.orders(job)["stage"]["metadata"]["uid"]
        return request if request and request.uid == uid else None

    def stop_as_asked(self, job: Object, step: int) -> None:
        """Wait for the request to an attempt to stop, save a checkpoint, and end it."""
        name = job["metadata"]["labels"][LABEL_NAME]
        self.api.wait(f"{name} is asked to stop", lambda: self.stop_request(job))
        self.progress(name, step)
        self.write(f"stages/{name}/checkpoints/step-{step:06d}/checkpoint.json", {"step": step})
        self.end(job)

    def let_wait(self, job: Object, seconds: int) -> None:
        """Let it look as if an attempt was asked to stop earlier, by so many seconds."""
        labels = job["metadata"]["labels"]
        kind, name = labels[LABEL_KIND], labels[LABEL_NAME]
        request = self.stop_request(job)
        assert request is not None
        before = request.requested_at - timedelta(seconds=seconds)
        earlier = request.model_copy(update={"requested_at": before})
        key = ResourceId(kind, name).stop_key(int(labels[LABEL_ATTEMPT]))
        self.write(key, earlier.model_dump(mode="json", by_alias=True))
        stage = self.resource(kind, name)
        conditions = [
            {**c, "lastTransitionTime": before.strftime("%Y-%m-%dT%H:%M:%SZ")}
            for c in stage["status"]["conditions"]
        ]
        self.api.patch(stage, {"status": {"conditions": conditions}}, "status")

    def _read(self, key: str) -> bytes | None:
        try:
            found = self.client.get_object(self.bucket, f"{self.prefix}/{key}")
        except S3Error:
            return None
        try:
            return bytes(found.read())
        finally:
            found.close()
            found.release_conn()

    def progress(self, name: str, step: int, total: int = 40) -> None:
        """Let a stage say how far it is."""
        value = {"step": step, "total": total, "doing": "sampling", "metrics": {}}
        self.write(ResourceId("TrainingStage", name).progress_key, value)

    def _result_digest(self, owner: ResourceId, orders: Object) -> str:
        """Return the digest of what was made; an evaluation's is that of the evaluated model."""
        if orders["kind"] == "EvaluationJob":
            return str(orders["model"]["digest"] or "")
        return f"digest-of-{owner.name}"

    def _spec_digest(self, orders: Object) -> str:
        if orders["kind"] == "DatasetJob":
            return spec_digest(ResolvedDatasetJob.model_validate(orders).dataset.spec)
        if orders["kind"] == "EvaluationJob":
            job = ResolvedEvaluationJob.model_validate(orders)
            dataset = self._digest_of(job.dataset)
            assert job.model is not None, "what is proven is no schedule's"
            return evaluation_digest(job.evaluation.spec, job.model.digest, dataset)
        stage = ResolvedStageJob.model_validate(orders)
        model = stage.model.digest if stage.model else None
        return stage_digest(stage.stage.spec, model, self._digest_of(stage.dataset))

    def _digest_of(self, dataset: str) -> str:
        name = dataset.rstrip("/").rpartition("/datasets/")[2].partition("/")[0]
        found = self._read(ResourceId("Dataset", name).completion_key)
        assert found is not None, f"dataset {name} is not finished"
        return str(json.loads(found)["digest"])
