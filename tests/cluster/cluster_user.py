"""What a user of the cluster does in a namespace: kubectl, and a look into the store."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_api import ClusterApi, Object
from go_programs import KUBECTL, built
from installed_assay import NAMESPACE as SYSTEM_NAMESPACE
from one_node_cluster import OneNodeCluster

from assay_api.base import API_VERSION
from assay_data.store import Store, open_store

_BUCKET_FOLDER = "s3://assay/runs"
_KUBECTL_SECONDS = 120
_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.5
"""Between two questions: the API server shares the cores with what is tested."""
_SHOWN_LOG_LINES = 40


@dataclass(frozen=True, slots=True)
class User:
    """One namespace of the cluster."""

    cluster: OneNodeCluster
    namespace: str

    @property
    def api(self) -> ClusterApi:
        """The API server, as an administrator."""
        return self.cluster.control_plane.admin

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return what it prints.

        Raises:
            AssertionError: it failed; with what it said.
        """
        kubeconfig = self.cluster.control_plane.kubeconfig
        command = [str(built(KUBECTL)), "--kubeconfig", str(kubeconfig), "-n", self.namespace]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_KUBECTL_SECONDS,
        )
        assert done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}\n{done.stderr}"
        return done.stdout

    def apply(self, what: str | Path) -> None:
        """Apply manifests: a text, a file or a folder."""
        if isinstance(what, Path):
            self.kubectl("apply", "-f", what)
        else:
            self.kubectl("apply", "-f", "-", stdin=what)

    def get(self, kind: str, name: str) -> Object:
        """Return one of Assay's resources."""
        return self.api.get(API_VERSION, kind, name, self.namespace)

    def status(self, kind: str, name: str) -> Object:
        """Return its status; empty: there is none yet."""
        found: Object = self.get(kind, name).get("status") or {}
        return found

    def condition(self, kind: str, name: str, condition: str) -> Object:
        """Return a condition of it; empty: there is none yet."""
        for found in self.status(kind, name).get("conditions", ()):
            if found["type"] == condition:
                return dict(found)
        return {}

    def wait_for(
        self,
        kind: str,
        name: str,
        condition: str = "Succeeded",
        reason: str | None = None,
        seconds: float = _PATIENCE_SECONDS,
    ) -> Object:
        """Wait for a condition to be true, and return it. A stage that fails ends the wait."""

        def reached() -> Object | None:
            conditions = {c["type"]: c for c in self.status(kind, name).get("conditions", ())}
            found, failed = conditions.get(condition, {}), conditions.get("Failed", {})
            if condition != "Failed" and failed.get("status") == "True":
                raise AssertionError(f"{kind}/{name} failed: {failed['message']}\n{self.shown()}")
            right = reason is None or found.get("reason") == reason
            return found if found.get("status") == "True" and right else None

        what = f"{kind}/{name} is {condition}{f' ({reason})' if reason else ''}"
        found: Object = self.api.wait(what, reached, seconds, self.shown, _PAUSE_SECONDS)
        return found

    def wait_for_end(self, stage: str, attempts: int, failure: str | None = None) -> list[Object]:
        """Wait for a stage's success, and return the records of the attempts that failed.

        Args:
            stage: its name.
            attempts: how many it must have needed.
            failure: what all but the last must have failed of.
        """
        self.wait_for("TrainingStage", stage, seconds=2 * _PATIENCE_SECONDS)
        status = self.status("TrainingStage", stage)
        failed = [record for record in status["attempts"] if record.get("failure")]
        assert status["attempt"] == attempts, self.explain(f"tstage/{stage}")
        assert [record["failure"] for record in failed] == [failure] * (attempts - 1), failed
        assert status["step"] == status["totalSteps"] == status["checkpoint"]
        return failed

    def wait_until(
        self, what: str, condition: Callable[[], Any], seconds: float = _PATIENCE_SECONDS
    ) -> Any:
        """Wait until something holds, and return it."""
        return self.api.wait(what, condition, seconds, self.shown, _PAUSE_SECONDS)

    def pods(self, selector: str = "") -> list[Object]:
        """Return the namespace's pods, those that a selector chooses."""
        query = {"labelSelector": selector} if selector else {}
        return self.api.items("v1", "Pod", self.namespace, **query)

    def pods_of(self, stage: str, component: str) -> list[Object]:
        """Return the pods of a stage's newest attempt, by what they are: learner, rollout, head."""
        attempt = self.status("TrainingStage", stage).get("attempt", 0)
        return self.pods(
            f"assay.dev/name={stage},assay.dev/attempt={attempt},"
            f"app.kubernetes.io/component={component}"
        )

    def running_pod(self, stage: str, component: str) -> Object:
        """Return the one pod of a stage's newest attempt that is this and runs."""
        return only_running(self.pods_of(stage, component))

    def delete_pod(self, pod: Object, grace_seconds: int | None = None) -> None:
        """Delete a pod."""
        self.api.delete({"apiVersion": "v1", "kind": "Pod", **pod}, grace_seconds)

    def store(self) -> Store:
        """Return the namespace's store."""
        os.environ.update(self._keys())
        return open_store(f"{_BUCKET_FOLDER}/{self.namespace}")

    def steps(self, stage: str) -> list[int]:
        """Return the steps of a stage's complete checkpoints."""
        keys = self.store().list(f"stages/{stage}/checkpoints")
        names = [key.split("/")[-2] for key in keys if key.endswith("/checkpoint.json")]
        return sorted(int(name.removeprefix("step-")) for name in names)

    def wait_for_checkpoint(self, stage: str, step: int, seconds: float = 180.0) -> None:
        """Wait until a stage has a complete checkpoint of this step, or a later one."""
        self.wait_until(
            f"a checkpoint of {stage} at step {step}",
            lambda: max(self.steps(stage), default=0) >= step,
            seconds,
        )

    def digest(self, stage: str) -> str:
        """Return the digest of a stage's model."""
        return self.store().digest(f"stages/{stage}/model")

    def _step_now(self, stage: str) -> int:
        store, key = self.store(), f"stages/{stage}/progress.json"
        return int(json.loads(store.read(key))["step"]) if store.exists(key) else 0

    def suspend(self, stage: str, at_step: int) -> None:
        """Suspend a stage after a step; return when it has saved, and none of its pods is left."""
        # A status is told of steps too late for a short stage on a busy machine.
        self.wait_until(f"step {at_step} of {stage}", lambda: self._step_now(stage) >= at_step)
        self._patch(stage, suspend=True)
        self.wait_for("TrainingStage", stage, "Blocked", "Suspended")
        status = self.status("TrainingStage", stage)
        # Saved although none was due.
        assert at_step <= max(self.steps(stage)) < status["totalSteps"], self.shown()
        selector = f"assay.dev/kind=TrainingStage,assay.dev/name={stage}"
        self.wait_until(
            f"no pod of {stage} is left",
            lambda: all(p["status"]["phase"] != "Running" for p in self.pods(selector)),
        )

    def resume(self, stage: str) -> None:
        """Let a suspended stage go on; return when it has succeeded in its second attempt."""
        self._patch(stage, suspend=False)
        self.wait_for("TrainingStage", stage, seconds=2 * _PATIENCE_SECONDS)
        status = self.status("TrainingStage", stage)
        assert status["attempt"] == 2, self.shown()
        assert not any(record.get("failure") for record in status["attempts"])

    def _patch(self, stage: str, **spec: object) -> None:
        self.api.patch(self.get("TrainingStage", stage), {"spec": spec})

    def explain(self, what: str) -> str:
        """Return what `assay explain KIND/NAME` prints."""
        return self.assay("explain", what, "--namespace", self.namespace)

    def report(self, page: Path) -> str:
        """Write a report of the namespace's store, and return the page."""
        self.assay("report", f"{_BUCKET_FOLDER}/{self.namespace}", "--out", page)
        return page.read_text()

    def assay(self, *arguments: str | Path) -> str:
        """Run `assay` on this machine with a user's KUBECONFIG and keys of the store.

        Raises:
            AssertionError: it failed; with what it said.
        """
        kubeconfig = str(self.cluster.control_plane.kubeconfig)
        done = subprocess.run(
            [sys.executable, "-m", "assay_trainer.cli.main", *map(str, arguments)],
            env={**os.environ, **self._keys(), "KUBECONFIG": kubeconfig},
            capture_output=True,
            text=True,
            timeout=_KUBECTL_SECONDS,
        )
        assert done.returncode == 0, f"assay {' '.join(map(str, arguments))}\n{done.stderr}"
        return done.stdout

    def shown(self) -> str:
        """Return how things stand: what a user would look at first."""
        resources = "tpipe,tstage,datasets,rewardmodels,evaluations,rayjobs,pytorchjobs,jobs,pods"
        lines = [self.kubectl("get", resources, "-o", "wide")]
        for pod in self.pods():
            if pod["status"].get("phase") in ("Running", "Failed"):
                name = pod["metadata"]["name"]
                try:
                    tail = self.kubectl("logs", name, f"--tail={_SHOWN_LOG_LINES}")
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    tail = str(error)
                lines.append(f"--- log of {name}\n{tail}")
        return "\n".join(lines)

    def _keys(self) -> dict[str, str]:
        """Return what the store asks for, as pods have it: the Service's address and the keys."""
        service = self.api.get("v1", "Service", "assay-minio", SYSTEM_NAMESPACE)
        secret = self.api.get("v1", "Secret", "assay-store", self.namespace)
        keys = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        return {**keys, "AWS_ENDPOINT_URL": f"http://{service['spec']['clusterIP']}:9000"}


def only_running(pods: Iterable[Object]) -> Object:
    """Return the one pod that runs."""
    (pod,) = (pod for pod in pods if pod["status"].get("phase") == "Running")
    return pod
