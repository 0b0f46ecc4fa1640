"""A model of a cluster: an API server in memory, and whoever else works there.

It keeps what matters to the operator: names that are taken, versions that conflict, deletions that
take time, owners whose children follow them. Faults are injected into the calls, and the process
under test may die in any of them. The real servers are tested in tests/operator_real.
"""

import contextlib
import copy
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_operator.children.owner import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_ROLE,
    Manifest,
)
from assay_operator.cluster.api import ApiError, Conflict, Gone
from assay_operator.cluster.kinds import WORKLOADS, Kind

NAMESPACE = "team"
JOBS = {kind.kind for kind in WORKLOADS} - {"CronJob", "Deployment"}


class Killed(BaseException):
    """The operator's process ends here."""


class ModelCluster:
    """The API server's objects, and the faults of the way to it."""

    def __init__(self, manifests: str, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000_000.0
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.texts: dict[str, tuple[str, bytes]] = {}
        self.versions = 0
        self.created: list[tuple[str, str]] = []
        self.writes = 0
        self.log: list[str] = []
        self.fault_rate = 0.0
        self.kill_at: int | None = None
        self.conflict_every = 0
        self.interloper: Callable[[], object] | None = None
        self.interrupted = 0
        self.on_delete: Callable[[Manifest], None] = lambda manifest: None
        for resource in parse_manifests(manifests, "model.yaml"):
            body = resource.model_dump(mode="json", by_alias=True, exclude={"status"})
            self.add({**body, "metadata": {"name": resource.metadata.name}})

    # ------------------------------------------------------------------ the API server

    def items(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        only_metadata: bool = False,
    ) -> Iterator[Manifest]:
        self._maybe_fail()
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        for (name, _), manifest in list(self.objects.items()):
            labels = manifest["metadata"].get("labels", {})
            if name == kind.kind and wanted.items() <= labels.items():
                yield self._copy(manifest)
        # What it is a list of may be too old before its end is read.
        self._maybe_fail()

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        self._maybe_fail()
        if (kind.kind, name) not in self.objects:
            raise Gone(name)
        return self._copy(self.objects[kind.kind, name])

    def _copy(self, manifest: Manifest) -> Manifest:
        """Return an object as a client gets it: nothing that it changes comes back."""
        uid, version = manifest["metadata"]["uid"], manifest["metadata"]["resourceVersion"]
        if self.texts.get(uid, ("", b""))[0] != version:
            self.texts[uid] = (version, pickle.dumps(manifest))
        found: Manifest = pickle.loads(self.texts[uid][1])
        return found

    def create(self, manifest: Manifest) -> None:
        self._write(lambda: self._create(manifest), "create", manifest)

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        self._write(lambda: self._replace(manifest), "replace", manifest)
        return manifest

    def patch_status(self, kind: Kind, manifest: Manifest, status: Mapping[str, Any]) -> None:
        self._write(lambda: self._patch_status(manifest, status), "status", manifest)

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        self._write(lambda: self._delete(manifest), "delete", manifest)

    def _write(self, effect: Callable[[], None], verb: str, manifest: Manifest) -> None:
        self.writes += 1
        self.log.append(f"{verb} {manifest['kind']} {manifest['metadata']['name']}")
        if self.kill_at is not None and self.writes >= self.kill_at:
            self.kill_at = None
            if self.rng.random() < 0.5:
                effect()
            raise Killed
        self._interrupt()
        self._maybe_fail()
        stormy = self.conflict_every and self.writes % self.conflict_every == 0
        if stormy and verb in ("status", "replace"):
            raise Conflict(f"{manifest['metadata']['name']} was changed a moment ago")
        effect()
        # The answer is lost on its way, not the write.
        self._maybe_fail()

    def _interrupt(self) -> None:
        """Let somebody else do all that it wants to, in the middle of what another one does."""
        other, self.interloper = self.interloper, None
        if other:
            self.interrupted += 1
            with contextlib.suppress(ApiError):
                other()

    def _maybe_fail(self) -> None:
        if self.rng.random() < self.fault_rate:
            raise ApiError("the way to the API server is broken")

    def _create(self, manifest: Manifest) -> None:
        if manifest["kind"] == "Event":
            return
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            raise Conflict(f"{key} is there")
        self._promise(manifest)
        self.add(manifest)
        if manifest["kind"] in JOBS:
            self.created.append(key)

    def _promise(self, manifest: Manifest) -> None:
        """Check what must hold whenever a job is made."""
        if manifest["kind"] not in JOBS:
            return
        owner = self.owner(manifest)
        others = [o for o in self.jobs(owner) if not self.is_over(o)]
        others += [p for p in self.pods(owner) if self.is_live(p)]
        assert not others, f"{owner} would have two live children: {others[0]['metadata']['name']}"
        uid = self.objects[owner.kind, owner.name]["metadata"]["uid"]
        orders = [
            o for (kind, _), o in self.objects.items() if kind == "ConfigMap" and self.owns(uid, o)
        ]
        assert orders or manifest["metadata"]["ownerReferences"][0]["uid"] != uid, (
            f"{owner}: the orders go with the owner before"
        )
        status = self.objects[owner.kind, owner.name].get("status", {})
        done = [c for c in status.get("conditions", ()) if c["type"] == "Succeeded"]
        assert not (done and done[0]["status"] == "True"), f"{owner} is done over"
        recorded = [record["number"] for record in status.get("attempts", ())]
        number = int(manifest["metadata"]["labels"][LABEL_ATTEMPT])
        assert number not in recorded, f"{owner}: attempt {number} was recorded as over"

    def _replace(self, manifest: Manifest) -> None:
        there = self._same_version(manifest)
        there.update(copy.deepcopy({k: v for k, v in manifest.items() if k != "metadata"}))
        self._touch(there)

    def _patch_status(self, manifest: Manifest, status: Mapping[str, Any]) -> None:
        there = self._same_version(manifest)
        there["status"] = merge_patch(there.get("status", {}), copy.deepcopy(dict(status)))
        self._touch(there)

    def _same_version(self, manifest: Manifest) -> Manifest:
        there = self.objects.get((manifest["kind"], manifest["metadata"]["name"]))
        if there is None:
            raise Gone(manifest["metadata"]["name"])
        if there["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict(manifest["metadata"]["name"])
        return there

    def _delete(self, manifest: Manifest) -> None:
        there = self.objects.get((manifest["kind"], manifest["metadata"]["name"]))
        if there is None or there["metadata"]["uid"] != manifest["metadata"]["uid"]:
            return
        self.on_delete(there)
        if manifest["kind"] in JOBS and self.rng.random() < 0.5:
            # Its own operator has something to do first.
            there["metadata"]["deletionTimestamp"] = self.timestamp()
            self._touch(there)
            return
        self.remove(there)

    # ------------------------------------------------------------------ the objects

    def add(self, manifest: Manifest) -> Manifest:
        """Store an object as a server would."""
        new = copy.deepcopy(manifest)
        self.versions += 1
        new["metadata"] |= {
            "namespace": NAMESPACE,
            "uid": f"uid-{self.versions}",
            "creationTimestamp": self.timestamp(),
            "generation": 1,
        }
        self.objects[new["kind"], new["metadata"]["name"]] = new
        self._touch(new)
        return new

    def _touch(self, manifest: Manifest) -> None:
        self.versions += 1
        manifest["metadata"]["resourceVersion"] = str(self.versions)

    def remove(self, manifest: Manifest) -> None:
        """Remove an object; what it owns follows in its time."""
        self.objects.pop((manifest["kind"], manifest["metadata"]["name"]), None)

    def collect_garbage(self) -> None:
        """Remove what is owned by nobody who is there, or some of it, in any order."""
        there = {o["metadata"]["uid"] for o in self.objects.values()}
        for other in list(self.objects.values()):
            references = other["metadata"].get("ownerReferences")
            left = not references or references[0]["uid"] in there
            if not left and self.rng.random() < 0.6:
                self.remove(other)

    def change_spec(self, manifest: Manifest, **fields: Any) -> None:
        """Change an object's spec, as its user does."""
        if any(manifest["spec"].get(name) != value for name, value in fields.items()):
            manifest["spec"] = {**manifest["spec"], **fields}
            manifest["metadata"]["generation"] += 1
            self._touch(manifest)

    @staticmethod
    def owns(uid: str, manifest: Manifest) -> bool:
        references = manifest["metadata"].get("ownerReferences", ())
        return any(reference["uid"] == uid for reference in references)

    def timestamp(self) -> str:
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @staticmethod
    def owner(manifest: Manifest) -> ResourceId:
        labels = manifest["metadata"]["labels"]
        return ResourceId(labels[LABEL_KIND], labels[LABEL_NAME])

    def jobs(self, owner: ResourceId | None = None) -> list[Manifest]:
        """Return the jobs of a resource, or all of them."""
        found = [o for (kind, _), o in self.objects.items() if kind in JOBS]
        return [o for o in found if owner is None or self.owner(o) == owner]

    def pods_of(self, job: Manifest) -> list[Manifest]:
        uid = job["metadata"]["uid"]
        return [
            o
            for (kind, _), o in self.objects.items()
            if kind == "Pod" and o["metadata"]["ownerReferences"][0]["uid"] == uid
        ]

    def pods(self, owner: ResourceId) -> list[Manifest]:
        """Return all pods of a resource, whether their job is there or not."""
        return [o for (k, _), o in self.objects.items() if k == "Pod" and self.owner(o) == owner]

    @staticmethod
    def is_live(pod: Manifest) -> bool:
        return pod["status"]["phase"] in ("Pending", "Running")

    def pods_live(self, job: Manifest) -> bool:
        return any(self.is_live(pod) for pod in self.pods_of(job))

    @staticmethod
    def is_over(job: Manifest) -> bool:
        status = job.get("status", {})
        if job["kind"] == "RayJob":
            return status.get("jobDeploymentStatus") in ("Complete", "Failed")
        ends = {"Succeeded", "Failed", "Complete"}
        return any(
            c["type"] in ends and c["status"] == "True" for c in status.get("conditions", ())
        )

    def status_of(self, kind: str, name: str) -> dict[str, Any]:
        """Return the status of a resource."""
        found: dict[str, Any] = self.objects[kind, name].get("status", {})
        return found

    def reason(self, kind: str, name: str) -> str:
        """Return why a resource stands where it stands."""
        conditions = self.status_of(kind, name).get("conditions", ())
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    # ------------------------------------------------------------------ the other operators

    def start_pods(self, job: Manifest) -> None:
        """Do what the job's own operator does first."""
        if self.pods_of(job) or job["metadata"].get("deletionTimestamp") or self.is_over(job):
            return
        self.add_pod(job)
        self._set(job, "Running")

    def add_pod(self, job: Manifest, node_type: str = "head") -> Manifest:
        labels = {**job["metadata"]["labels"], "ray.io/node-type": node_type}
        reference = {"uid": job["metadata"]["uid"], "kind": job["kind"]}
        return self.add(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{job['metadata']['name']}-{self.versions}",
                    "labels": labels,
                    "ownerReferences": [reference],
                },
                "status": {"phase": "Running"},
            }
        )

    def end(self, job: Manifest, exit_code: int, **container: Any) -> None:
        """End a job's pods, and say in its status what its own operator would."""
        for pod in self.pods_of(job):
            pod["status"]["phase"] = "Failed" if exit_code else "Succeeded"
            terminated = {"exitCode": exit_code, "finishedAt": self.timestamp(), **container}
            pod["status"]["containerStatuses"] = [
                {"name": "pytorch", "image": "i", "state": {"terminated": terminated}}
            ]
            self._touch(pod)
        self._set(job, "Failed" if exit_code else "Succeeded")

    def _set(self, job: Manifest, what: str) -> None:
        if job["kind"] == "RayJob":
            job["status"] = {
                "Running": {
                    "jobDeploymentStatus": "Running",
                    "jobStatus": "RUNNING",
                    "rayJobInfo": {"startTime": self.timestamp()},
                },
                "Succeeded": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
                "Failed": {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"},
            }[what]
        else:
            name = "Complete" if (what, job["kind"]) == ("Succeeded", "Job") else what
            condition = {"type": name, "status": "True", "lastTransitionTime": self.timestamp()}
            job["status"] = {"conditions": [condition]}
        self._touch(job)

    def settle(self) -> None:
        """Let deletions come to their end, and servers become ready."""
        for job in self.jobs():
            if job["metadata"].get("deletionTimestamp"):
                self.remove(job)
        self.collect_garbage()
        for (kind, _), deployment in list(self.objects.items()):
            if kind == "Deployment" and not deployment.get("status"):
                deployment["status"] = {"availableReplicas": 1}
                self._touch(deployment)

    def role(self, job: Manifest) -> str:
        return str(job["metadata"]["labels"][LABEL_ROLE])


def merge_patch(target: Any, patch: Any) -> Any:
    """Return what a JSON merge patch (RFC 7386) makes of a value."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), value)
    return found
