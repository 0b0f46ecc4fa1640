"""The real training-operator and KubeRay operator beside a control plane.

Their manifests come from their Go modules. They run as processes with the rights of their own
ServiceAccounts, and speak to the Ray clusters' dashboards through `fake_dashboard.py`.
"""

import fcntl
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from background import Background
from certificates import Authority
from cluster_api import Object
from control_plane import ControlPlane
from fake_dashboard import FakeDashboard
from go_programs import KUBECTL, KUBERAY, TRAINING_OPERATOR, built, source_folder
from object_server import free_port

TRAINING_NAMESPACE = "kubeflow"
KUBERAY_NAMESPACE = "default"
WEBHOOK_FILES = Path("/tmp/k8s-webhook-server/serving-certs")
"""The training-operator looks for its certificate here and nowhere else."""
NOT_APPLIED = {"Deployment", "Service", "CustomResourceDefinition"}
"""The operators run as processes; definitions are applied before."""
NOBODY = {"matchLabels": {"assay.dev/webhooks": "none"}}
# The default one needs DNS, and Pod Security's level `restricted` refuses it.
INIT_CONTAINER = """
- name: init-pytorch
  image: {{.InitContainerImage}}
  command: [sh, -c, "until getent hosts {{.MasterAddr}}; do sleep 1; done"]
  resources: {limits: {cpu: 100m, memory: 20Mi}}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    runAsUser: 10001
    seccompProfile: {type: RuntimeDefault}
"""


def third_party_crds() -> list[Object]:
    """Return the definitions of PyTorchJob, RayJob and RayCluster."""
    kubeflow = source_folder(TRAINING_OPERATOR) / "manifests/base/crds"
    ray = source_folder(KUBERAY) / "config/crd/bases"
    files = [
        kubeflow / "kubeflow.org_pytorchjobs.yaml",
        ray / "ray.io_rayjobs.yaml",
        ray / "ray.io_rayclusters.yaml",
        # Unused, but the operators watch these kinds.
        ray / "ray.io_rayservices.yaml",
        ray / "ray.io_raycronjobs.yaml",
    ]
    return [yaml.load(file.read_text(), yaml.CSafeLoader) for file in files]


class ThirdParty:
    """A context: both operators run and have started their controllers."""

    def __init__(self, control_plane: ControlPlane, dashboard: FakeDashboard) -> None:
        """Take a control plane that runs, and the dashboard that Ray clusters are to have."""
        self.control_plane = control_plane
        self.dashboard = dashboard
        self._folder = control_plane.folder / "third-party"
        self._processes: list[Background] = []

    def __enter__(self) -> Self:
        """Apply their manifests and start them."""
        self._folder.mkdir()
        try:
            self.control_plane.apply_crds(third_party_crds())
            ready = [self._start_training_operator(), self._start_kuberay()]
            for process, address in zip(self._processes, ready, strict=True):
                process.ready(lambda url=address: _answers(url))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them."""
        self._stop()

    def log_tails(self) -> str:
        """Return the end of each operator's log."""
        return "\n".join(f"--- {p.name}\n{p.tail()}" for p in self._processes)

    def tell_ray_job(self, namespace: str, name: str, status: str, message: str = "") -> None:
        """Let the dashboard say how the job of a RayJob stands; wait until the job has an ID."""
        api = self.control_plane.admin
        job_id: str = api.wait(
            f"RayJob {name} has a job ID",
            lambda: api.get("ray.io/v1", "RayJob", name, namespace).get("status", {}).get("jobId"),
        )
        self.dashboard.tell(namespace, job_id, status, message)

    def _start_training_operator(self) -> str:
        self._apply(source_folder(TRAINING_OPERATOR) / "manifests/overlays/standalone")
        _leave_webhook_certificate(self._folder / "webhook")
        template = self._folder / "init-container.yaml"
        template.write_text(INIT_CONTAINER)
        health = f"127.0.0.1:{free_port()}"
        flags = {
            "kubeconfig": self._kubeconfig("training-operator", TRAINING_NAMESPACE),
            "enable-scheme": "pytorchjob",
            "metrics-bind-address": "0",
            "health-probe-bind-address": health,
            "webhook-server-port": str(free_port()),
            "pytorch-init-container-template-file": str(template),
            "kube-api-qps": "200",
            "kube-api-burst": "400",
        }
        self._run("training-operator", built(TRAINING_OPERATOR), flags, {})
        return f"http://{health}/readyz"

    def _start_kuberay(self) -> str:
        self._apply(source_folder(KUBERAY) / "config/rbac", KUBERAY_NAMESPACE)
        health = f"127.0.0.1:{free_port()}"
        flags = {
            "kubeconfig": self._kubeconfig("kuberay-operator", KUBERAY_NAMESPACE),
            "enable-leader-election": "false",
            "metrics-addr": "0",
            "health-probe-bind-address": health,
        }
        proxy = {"HTTP_PROXY": self.dashboard.url, "http_proxy": self.dashboard.url, "NO_PROXY": ""}
        self._run("kuberay-operator", built(KUBERAY), flags, proxy)
        return f"http://{health}/readyz"

    def _apply(self, folder: Path, namespace: str | None = None) -> None:
        """Apply what a folder's kustomization makes, but for the operator's own pods."""
        made = subprocess.run(
            [str(built(KUBECTL)), "kustomize", str(folder)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        manifests = [m for m in yaml.load_all(made.stdout, yaml.CSafeLoader) if m]
        # Namespaces first: the others live in them.
        for manifest in sorted(manifests, key=lambda m: m["kind"] != "Namespace"):
            if manifest["kind"] not in NOT_APPLIED:
                self.control_plane.admin.apply(_adapted(manifest, namespace))

    def _kubeconfig(self, service_account: str, namespace: str) -> str:
        return str(self.control_plane.kubeconfig_of(service_account, namespace))

    def _run(
        self, name: str, program: Path, flags: dict[str, str], environment: dict[str, str]
    ) -> None:
        command = [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]
        process = Background(name, command, self._folder / f"{name}.log", environment)
        self._processes.append(process)
        process.start()

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()


def _adapted(manifest: Object, namespace: str | None) -> Object:
    """Return a manifest that works here: in a namespace, and without webhooks that are called."""
    if manifest["kind"] == "ValidatingWebhookConfiguration":
        # The server can't reach a Service here, but the operator waits for this configuration.
        for webhook in manifest["webhooks"]:
            webhook["namespaceSelector"] = NOBODY
    if namespace:
        if manifest["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
            manifest["metadata"]["namespace"] = namespace
        for subject in manifest.get("subjects", ()):
            subject["namespace"] = namespace
    return manifest


def _leave_webhook_certificate(made_in: Path) -> None:
    """Leave a certificate where the training-operator looks, before it looks: it looks rarely.

    Any will do, since nobody calls its webhook; runs beside this one share it.
    """
    authority = Authority(made_in)
    authority.issue("tls", "training-operator.kubeflow.svc", hosts=["localhost"])
    WEBHOOK_FILES.mkdir(parents=True, exist_ok=True)
    with (WEBHOOK_FILES.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_fresh(WEBHOOK_FILES / "tls.key"):
            return
        for name in ("ca.crt", "ca.key", "tls.crt", "tls.key"):
            shutil.copyfile(made_in / name, WEBHOOK_FILES / name)


def _is_fresh(file: Path) -> bool:
    # Certificates made here hold for a day.
    return file.exists() and time.time() - file.stat().st_mtime < 12 * 3600


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def condition(obj: Object, kind: str) -> Any:
    """Return the status of one of an object's conditions; none if it is not there."""
    conditions = obj.get("status", {}).get("conditions", ())
    return next((c["status"] for c in conditions if c["type"] == kind), None)
