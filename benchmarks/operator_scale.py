"""The operator with a thousand stages: `python benchmarks/operator_scale.py`.

It starts etcd, the API server and its controllers, a MinIO and the operator as a process of its
own with the rights of its ServiceAccount. Of the training-operator only its definitions are there:
this program makes one pod per child and says how each ends, so that what is measured is ours.

Measured are the time from the first stage's arrival until every child is made; a restart after
which every stage has to be seen anew, because all of them ended while the operator was down; the
time from a child's failure to the next attempt; the repair of what no event tells; memory; writes.
"""

import argparse
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/controlplane"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/operator_cluster"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/servers"))

from cluster_api import ClusterApi
from control_plane import ControlPlane
from object_server import ObjectServer
from operator_process import BUCKET, OWN_NAMESPACE, OperatorProcess, install, write_platform
from third_party import third_party_crds
from urllib3.exceptions import HTTPError

from assay_api import Completion, ResolvedStageJob
from assay_api.digest import stage_digest
from assay_api.layout import ResourceId
from assay_operator.children.owner import LABEL_KIND, LABEL_NAME

PROMISED = {
    "restart_seconds": 30.0,
    "new_attempt_seconds": 10.0,
    "repair_seconds": 60.0,
    "resident_mib": 256.0,
}
"""What the design promises for a thousand stages."""
GROUP = "assay.dev/v1alpha1"
DATASET_DIGEST = "digest-of-clips"
Object = dict[str, Any]


class Bench:
    """One namespace full of stages, and what is needed to play their pods."""

    def __init__(self, api: ClusterApi, namespace: str, server: ObjectServer) -> None:
        """Take an API server, a namespace and an object store."""
        self.api, self.namespace = api, namespace
        self.client = server.client()
        self.threads = ThreadPoolExecutor(8)

    def write(self, key: str, value: object) -> None:
        """Write a JSON object into the namespace's store."""
        data = json.dumps(value).encode()
        name = f"main/{self.namespace}/{key}"
        self.client.put_object(BUCKET, name, io.BytesIO(data), len(data))

    def dataset(self) -> None:
        """Make a dataset that is finished."""
        spec = {"source": {"synthetic": {}}}
        self.create("Dataset", "clips", spec)
        completion = Completion(spec_digest="x", digest=DATASET_DIGEST, result=".")
        self.write("datasets/clips/completion.json", completion.model_dump(by_alias=True))

    def create(self, kind: str, name: str, spec: Object) -> None:
        """Create one of our resources."""
        metadata = {"name": name, "namespace": self.namespace}
        self.api.create({"apiVersion": GROUP, "kind": kind, "metadata": metadata, "spec": spec})

    def stages(self) -> dict[str, Object]:
        """Return all stages by name."""
        found = self.api.items(GROUP, "TrainingStage", self.namespace)
        return {stage["metadata"]["name"]: stage for stage in found}

    def jobs(self) -> dict[str, Object]:
        """Return all children by name."""
        found = self.api.items("kubeflow.org/v1", "PyTorchJob", self.namespace)
        return {job["metadata"]["name"]: job for job in found}

    def each(self, act: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Do something to many objects at once."""
        list(self.threads.map(act, items))

    def start_pod(self, job: Object) -> None:
        """Do what the training-operator does first: a pod, and the condition Running."""
        template = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
        metadata = job["metadata"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name']}-master-0",
                "namespace": self.namespace,
                "labels": template["metadata"]["labels"],
            },
            # There are no nodes: nobody schedules it, and nobody takes it away.
            "spec": {**template["spec"], "schedulerName": "none", "restartPolicy": "Never"},
        }
        self.api.create(pod)
        self.api.patch(pod, {"status": {"phase": "Running"}}, "status")
        self.say(job, "Running")

    def say(self, job: Object, condition: str) -> None:
        """Set a child's condition."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [{"type": condition, "status": "True", "lastTransitionTime": now}]
        self.api.patch(job, {"status": {"conditions": conditions}}, "status")

    def end_pod(self, job: Object, exit_code: int) -> None:
        """End a child's pod."""
        phase = "Failed" if exit_code else "Succeeded"
        ended = {"exitCode": exit_code, "reason": "Error"}
        container = {
            "name": "pytorch",
            "image": "none",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{job['metadata']['name']}-master-0",
                "namespace": self.namespace,
            },
        }
        status = {"phase": phase, "containerStatuses": [container]}
        self.api.patch(pod, {"status": status}, "status")
        self.say(job, "Failed" if exit_code else "Succeeded")

    def prove(self, job: Object) -> None:
        """Write the completion of a child's stage."""
        name = job["metadata"]["labels"][LABEL_NAME]
        selector = f"{LABEL_KIND}=TrainingStage,{LABEL_NAME}={name}"
        configs = self.api.items("v1", "ConfigMap", self.namespace, labelSelector=selector)
        orders = ResolvedStageJob.model_validate_json(configs[-1]["data"]["orders.json"])
        digest = stage_digest(orders.stage.spec, None, DATASET_DIGEST)
        completion = Completion(spec_digest=digest, digest=f"digest-of-{name}", result="model")
        key = ResourceId("TrainingStage", name).completion_key
        self.write(key, completion.model_dump(by_alias=True))


def reason(stage: Object) -> str:
    """Return why a stage stands where it stands."""
    conditions = stage.get("status", {}).get("conditions", ())
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")


def wait(
    what: str, condition: Callable[[], bool], seconds: float = 300, pause: float = 0.25
) -> float:
    """Wait until a condition holds; return the seconds it took.

    A thousand stages are looked at once a second only: who asks takes the same two cores.
    """
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return time.perf_counter() - started


def measure(bench: Bench, operator: OperatorProcess, stages: int, samples: int) -> dict[str, float]:
    """Return what was measured, by name."""
    found: dict[str, float] = {}
    spec = {
        "model": {"uri": "s3://models/base"},
        "dataset": "clips",
        "sft": {"task": "Judge", "steps": 4},
        "retry": {"application": 99},
    }
    bench.dataset()
    wait("the dataset is finished", lambda: _dataset_reason(bench) != "")
    names = [f"stage-{number:04d}" for number in range(stages)]
    started = time.perf_counter()
    bench.each(lambda name: bench.create("TrainingStage", name, spec), names)
    wait("every stage has its child", lambda: len(bench.jobs()) == stages, pause=1.0)
    found["first_children_seconds"] = time.perf_counter() - started
    bench.each(bench.start_pod, bench.jobs().values())
    wait("all run", lambda: _all(bench, "Running"), pause=1.0)
    found["resident_mib"] = _resident_mib(operator.pid)
    found["look_seconds"] = _look_seconds(operator)
    found["idle_cpu_share"] = _cpu_share(operator.pid, 30)
    found["new_attempt_seconds"] = max(_new_attempts(bench, names[:samples]))
    found["repair_seconds"] = max(_repairs(bench, names[samples : 2 * samples]))
    found["resident_mib"] = max(found["resident_mib"], _resident_mib(operator.pid))
    found["writes_per_stage_until_it_runs"] = _writes(operator) / stages
    found |= _restart(bench, operator)
    return found


def _dataset_reason(bench: Bench) -> str:
    return reason(bench.api.get(GROUP, "Dataset", "clips", bench.namespace))


def _are(bench: Bench, names: list[str], wanted: str) -> bool:
    stages = bench.stages()
    return all(reason(stages[name]) == wanted for name in names)


def _all(bench: Bench, wanted: str) -> bool:
    return all(reason(stage) == wanted for stage in bench.stages().values())


def _new_attempts(bench: Bench, names: list[str]) -> list[float]:
    """Fail children one after the other; return the seconds until the next attempt is made."""
    seconds = []
    for name in names:
        job = bench.api.get("kubeflow.org/v1", "PyTorchJob", f"{name}-a1", bench.namespace)
        bench.end_pod(job, 1)
        second = ("kubeflow.org/v1", "PyTorchJob", f"{name}-a2", bench.namespace)
        seconds.append(wait(f"{name} has attempt 2", lambda s=second: bool(bench.api.find(*s))))
        bench.start_pod(bench.api.get(*second))
    return seconds


def _repairs(bench: Bench, names: list[str]) -> list[float]:
    """Let stages be proven without any event; return the seconds until each is noticed."""
    jobs = bench.jobs()
    bench.each(lambda name: bench.prove(jobs[f"{name}-a1"]), names)
    started = time.perf_counter()
    wait("all are noticed", lambda: _are(bench, names, "Completed"), pause=1.0)
    return [time.perf_counter() - started]


def _restart(bench: Bench, operator: OperatorProcess) -> dict[str, float]:
    """Let every stage end while the operator is down; return how long it takes to catch up."""
    operator.kill()
    jobs = [j for j in bench.jobs().values() if not _has_ended(j)]
    bench.each(bench.prove, jobs)
    bench.each(lambda job: bench.end_pod(job, 0), jobs)
    started = time.perf_counter()
    operator.start()
    wait("all have ended", lambda: _all(bench, "Completed"), pause=1.0)
    found = {"restart_seconds": time.perf_counter() - started}
    operator.kill()
    started = time.perf_counter()
    operator.start()
    wait("it has looked once", lambda: _ticked(operator))
    found["idle_restart_seconds"] = time.perf_counter() - started
    found["idle_restart_writes"] = _writes(operator)
    return found


def _has_ended(job: Object) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(c["type"] in ("Failed", "Succeeded") for c in conditions)


def _metrics(operator: OperatorProcess) -> str:
    try:
        return operator.get(operator.metrics_port, "/metrics")[1]
    except HTTPError:
        # It does not listen yet.
        return ""


def _ticked(operator: OperatorProcess) -> bool:
    found = re.search(r"^assay_operator_reconcile_seconds_count (\S+)", _metrics(operator), re.M)
    return found is not None and float(found[1]) >= 1


def _writes(operator: OperatorProcess) -> float:
    pattern = r'^assay_operator_api_writes_total\{kind="(\w+)",verb="\w+"\} (\S+)'
    found = re.findall(pattern, _metrics(operator), re.M)
    return sum(float(count) for kind, count in found if kind != "Event")


def _look_seconds(operator: OperatorProcess) -> float:
    """Return the mean time of a look."""
    text = _metrics(operator)
    name = "assay_operator_reconcile_seconds"
    total, count = (re.search(rf"^{name}_{part} (\S+)", text, re.M) for part in ("sum", "count"))
    assert total is not None and count is not None
    return float(total[1]) / float(count[1])


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


def _cpu_share(pid: int, seconds: float) -> float:
    """Return the share of one core that the process takes while nothing happens."""

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def main() -> int:
    """Measure and print; return 1 where something is worse than promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=20, help="failures and repairs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name, ControlPlane() as cluster:
        folder = Path(name)
        cluster.apply_crds(third_party_crds())
        install(cluster)
        with ObjectServer("minio", folder / "server") as server:
            server.client().make_bucket(BUCKET)
            operator = OperatorProcess(
                cluster.kubeconfig_of("assay-operator", OWN_NAMESPACE),
                write_platform(folder / "platform.yaml", server),
                server.environment,
                folder / "operator.log",
            )
            operator.start()
            try:
                bench = Bench(cluster.admin, cluster.new_namespace("bench"), server)
                found = measure(bench, operator, arguments.stages, arguments.samples)
            except SystemExit:
                print(operator.log.read_text()[-4000:], file=sys.stderr)
                raise
            finally:
                operator.kill()
    worse = [name for name, promised in PROMISED.items() if found[name] > promised]
    print(json.dumps(found, indent=1) if arguments.json else _text(found))
    print(f"worse than promised: {', '.join(worse) or 'nothing'}", file=sys.stderr)
    return bool(worse)


def _text(found: dict[str, float]) -> str:
    return "\n".join(
        f"{name:34}{value:10.2f}"
        + (f"   promised {PROMISED[name]:.0f}" if name in PROMISED else "")
        for name, value in found.items()
    )


if __name__ == "__main__":
    sys.exit(main())
