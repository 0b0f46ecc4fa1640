"""The operator under test: a process of its own, with the rights of its own ServiceAccount."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import urllib3
import yaml
from control_plane import ControlPlane
from go_programs import KUBECTL, built
from object_server import ObjectServer, free_port

OWN_NAMESPACE = "assay-system"
BUCKET = "runs"
ROOT = Path(__file__).parents[2]


class OperatorProcess:
    """Starts, kills and looks at the operator."""

    def __init__(
        self,
        kubeconfig: Path,
        platform: Path,
        environment: Mapping[str, str],
        log: Path,
        namespaces: tuple[str, ...] = (),
    ) -> None:
        self.metrics_port, self.health_port = free_port(), free_port()
        self.log = log
        self._environment = {
            **os.environ,
            **environment,
            "KUBECONFIG": str(kubeconfig),
            # As in a pod: the next process is that of the same pod, started anew.
            "POD_NAME": f"assay-operator-{log.parent.name}",
            "MALLOC_ARENA_MAX": "2",
        }
        self._command = [
            *(sys.executable, "-m", "assay_trainer.cli.main", "operator"),
            *("--platform", str(platform), "--own-namespace", OWN_NAMESPACE),
            *("--metrics-port", str(self.metrics_port), "--health-port", str(self.health_port)),
            *("--log-format", "text"),
            *(part for namespace in namespaces for part in ("--namespace", namespace)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may take a moment until it writes."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it at once, wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, wherever it is, and start it again."""
        self.kill()
        self.start()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages."""
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=False)
        return answer.status, answer.data.decode()


def install(control_plane: ControlPlane) -> None:
    """Install as the README tells; the operator's own pod is on a node that only plays."""
    command = [str(built(KUBECTL)), f"--kubeconfig={control_plane.kubeconfig}"]
    applied = subprocess.run(
        [*command, "apply", "--server-side", "-k", str(ROOT / "manifests/install")],
        capture_output=True,
        text=True,
    )
    assert applied.returncode == 0, applied.stderr
    for name in ("datasets", "evaluations", "rewardmodels", "trainingpipelines", "trainingstages"):
        waited = [*command, "wait", "--for=condition=Established", f"crd/{name}.assay.dev"]
        subprocess.run(waited, capture_output=True, check=True)


def missing_rights(control_plane: ControlPlane, log: str) -> list[str]:
    """Return the rights that the server has refused to the operator, and does not grant now.

    For a moment after its start a server refuses everything: it has not read the roles yet.
    """
    refused = set(
        re.findall(r'cannot (\w+) resource \\?"([\w/]+)\\?" in API group \\?"([\w.]*)', log)
    )
    return [
        f"{verb} {resource}.{group}"
        for verb, resource, group in sorted(refused)
        if not _may(control_plane, verb, resource, group)
    ]


def _may(control_plane: ControlPlane, verb: str, resource: str, group: str) -> bool:
    plural, _, subresource = resource.partition("/")
    asked = {"namespace": OWN_NAMESPACE, "verb": verb, "group": group, "resource": plural}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{OWN_NAMESPACE}:assay-operator",
            "resourceAttributes": {**asked, "subresource": subresource},
        },
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = control_plane.admin.request("POST", path, review)
    return bool(answer["status"]["allowed"])


def write_platform(path: Path, server: ObjectServer) -> Path:
    """Write a platform with one pool of CPUs and one of GPUs, and return where."""
    platform = {
        "store": {
            "url": f"s3://{BUCKET}/main",
            "endpoint": server.endpoint,
            "port": server.port,
            "credentialsSecret": "assay-store",
        },
        "images": {"trainer": "assay-trainer:test", "data": "assay-data:test"},
        "accelerator": "Cpu",
        "nodePools": {
            "default": {"nodes": 8, "cpus": 2, "memoryGib": 8},
            "huge": {"cpus": 1000, "memoryGib": 9000},
            "gpu": {
                "gpusPerNode": 8,
                "gpuMemoryGib": 40,
                "cpus": 32,
                "memoryGib": 256,
                "shmGib": 16,
                "tolerations": [{"key": "nvidia.com/gpu"}],
            },
        },
    }
    path.write_text(yaml.safe_dump(platform))
    return path
