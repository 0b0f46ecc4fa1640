"""The real training-operator and KubeRay operator beside a control plane.

Their manifests come from their Go modules. They run as processes with the rights of their own
ServiceAccounts, and speak to the Ray clusters' dashboards through `fake_dashboard.py`.
"""

import base64
import fcntl
import functools
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from background import Background
from certificates import Authority
from cluster_api import ApiError, Object
from control_plane import ControlPlane
from fake_dashboard import FakeDashboard
from fake_kubelet import FakeKubelet
from go_programs import KUBERAY, TRAINING_OPERATOR, built, source_folder
from object_server import free_port
from pod_behaviours import Ends

TRAINING_NAMESPACE = "kubeflow"
WEBHOOK_SECRET = {"name": "training-operator-webhook-cert", "namespace": TRAINING_NAMESPACE}
KUBERAY_NAMESPACE = "default"
WEBHOOK_FOLDER = Path("/tmp/k8s-webhook-server/serving-certs")
"""The training-operator looks for its certificate here and nowhere else."""
WEBHOOK_FILES = ("ca.crt", "ca.key", "tls.crt", "tls.key")
WEBHOOK_HOSTS = ("training-operator.kubeflow.svc", "127.0.0.1")
WEBHOOKS = "validator.training-operator.kubeflow.org"
"""Their configuration: the training-operator starts nothing before it is there."""
FRESH_SECONDS = 200 * 86400
"""The training-operator wants a certificate that holds for 90 days more; ours holds for a year."""
_AWAIT_MASTER = '[sh, -c, "until getent hosts {{.MasterAddr}}; do sleep 1; done"]'
_INIT_CONTAINER = """
- name: init-pytorch
  image: {{{{.InitContainerImage}}}}
  command: {command}
  resources: {resources}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {{drop: [ALL]}}
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    runAsUser: 10001
    seccompProfile: {{type: RuntimeDefault}}
"""


def init_container(command: str, resources: str) -> str:
    """Return the template of the init container that the training-operator gives to workers.

    The default one runs as root, which Pod Security `restricted` refuses, and its `nslookup` fails
    where one of the search suffixes is not known.

    Args:
        command: YAML; ends when the name of the master, `{{.MasterAddr}}`, resolves.
        resources: YAML.
    """
    return _INIT_CONTAINER.format(command=command, resources=resources)


def third_party_crds() -> list[Object]:
    """Return the definitions of PyTorchJob, RayJob and RayCluster, in the version that is stored.

    The older one is left out: the API server needs seconds for such large definitions.
    """
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
    definitions = [manifest for file in files for manifest in _read(file)]
    for definition in definitions:
        spec = definition["spec"]
        spec["versions"] = [version for version in spec["versions"] if version["storage"]]
    return definitions


class ThirdParty:
    """A context: both operators run and have started their controllers."""

    def __init__(
        self, control_plane: ControlPlane, kubelet: FakeKubelet, dashboard: FakeDashboard
    ) -> None:
        """Take a control plane that runs, its nodes, and the dashboard of all Ray clusters."""
        self.control_plane = control_plane
        self._admin = control_plane.admin
        self._kubelet = kubelet
        self.dashboard = dashboard
        self._folder = control_plane.folder / "third-party"
        self._processes: list[Background] = []

    def __enter__(self) -> Self:
        """Apply their manifests and start them."""
        self._folder.mkdir()
        try:
            self.control_plane.apply_crds(third_party_crds())
            ready = [self._start_training_operator(), self._start_kuberay()]
            for process, url in zip(self._processes, ready, strict=True):
                process.ready(functools.partial(_answers, url))
            self._admin.wait("the webhook is called", self._webhook_refuses)
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

    def end_ray_job(self, namespace: str, name: str, status: str, message: str = "") -> None:
        """Let the job of a RayJob end, once there is one, and its submitter pod with it.

        Args:
            namespace: the RayJob's.
            name: the RayJob's.
            status: SUCCEEDED, FAILED or STOPPED.
            message: what the dashboard says besides.
        """
        api = self._admin
        job_id: str = api.wait(
            f"RayJob {name} has a job ID",
            lambda: api.get("ray.io/v1", "RayJob", name, namespace).get("status", {}).get("jobId"),
        )
        self.dashboard.tell(namespace, job_id, status, message)
        # It ends with `ray job logs --follow`, which succeeds whatever has become of the job.
        self._kubelet.when(Ends(), namespace, labels={"job-name": name})

    def _start_training_operator(self) -> str:
        manifests = source_folder(TRAINING_OPERATOR) / "manifests/base"
        namespace = {"metadata": {"name": TRAINING_NAMESPACE}}
        self._admin.create({"apiVersion": "v1", "kind": "Namespace", **namespace})
        self._give_rights(TRAINING_NAMESPACE, sorted((manifests / "rbac").glob("*.yaml")))
        webhooks = free_port()
        for webhook in _read(manifests / "webhook/manifests.yaml"):
            self._admin.create(_on_port(webhooks, webhook))
        secret = {"metadata": WEBHOOK_SECRET, "data": _webhook_certificate(self._folder)}
        self._admin.create({"apiVersion": "v1", "kind": "Secret", **secret})
        template = self._folder / "init-container.yaml"
        template.write_text(init_container(_AWAIT_MASTER, "{limits: {cpu: 100m, memory: 20Mi}}"))
        health = f"127.0.0.1:{free_port()}"
        flags = {
            "kubeconfig": self._kubeconfig("training-operator", TRAINING_NAMESPACE),
            "enable-scheme": "pytorchjob",
            "metrics-bind-address": "0",
            "health-probe-bind-address": health,
            "webhook-server-port": str(webhooks),
            "pytorch-init-container-template-file": str(template),
            "kube-api-qps": "200",
            "kube-api-burst": "400",
        }
        self._run("training-operator", built(TRAINING_OPERATOR), flags)
        return f"http://{health}/readyz"

    def _webhook_refuses(self) -> bool:
        """Say whether the webhook is called: the API server learns of its certificate late."""
        empty = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": "empty", "namespace": "default"},
            "spec": {"pytorchReplicaSpecs": {"Master": {"template": {"spec": {"containers": []}}}}},
        }
        try:
            self._admin.create(empty, dryRun="All")
        except ApiError as error:
            return "denied the request" in error.message
        return False

    def _start_kuberay(self) -> str:
        rights = source_folder(KUBERAY) / "config/rbac"
        files = ("service_account.yaml", "role.yaml", "role_binding.yaml")
        self._give_rights(KUBERAY_NAMESPACE, [rights / name for name in files])
        health = f"127.0.0.1:{free_port()}"
        flags = {
            "kubeconfig": self._kubeconfig("kuberay-operator", KUBERAY_NAMESPACE),
            "enable-leader-election": "false",
            "metrics-addr": "0",
            "health-probe-bind-address": health,
        }
        self._run("kuberay-operator", built(KUBERAY), flags, HTTP_PROXY=self.dashboard.url)
        return f"http://{health}/readyz"

    def _give_rights(self, namespace: str, files: list[Path]) -> None:
        """Apply an operator's ServiceAccount and its rights, in a namespace."""
        for manifest in (manifest for file in files for manifest in _read(file)):
            if manifest["kind"] == "ServiceAccount":
                manifest["metadata"]["namespace"] = namespace
            for subject in manifest.get("subjects", ()):
                subject["namespace"] = namespace
            self._admin.apply(manifest)

    def _kubeconfig(self, service_account: str, namespace: str) -> str:
        return str(self.control_plane.kubeconfig_of(service_account, namespace))

    def _run(self, name: str, program: Path, flags: dict[str, str], **environment: str) -> None:
        command = [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]
        process = Background(name, command, self._folder / f"{name}.log", environment)
        self._processes.append(process)
        process.start()

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()


def _read(file: Path) -> list[Object]:
    return [m for m in yaml.load_all(file.read_text(), yaml.CSafeLoader) if m]


def _on_port(port: int, manifest: Object) -> Object:
    """Let webhooks be called on a port of this machine: the server can't reach a Service here."""
    manifest["metadata"]["name"] = WEBHOOKS
    for webhook in manifest["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}"}
    return manifest


def _webhook_certificate(folder: Path) -> dict[str, str]:
    """Return a certificate's files as a Secret's data, and leave them where the operator looks.

    They must be there before it looks, since it looks rarely. Runs beside this one share them.
    """
    WEBHOOK_FOLDER.mkdir(parents=True, exist_ok=True)
    with (WEBHOOK_FOLDER.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        last = WEBHOOK_FOLDER / WEBHOOK_FILES[-1]
        if not last.exists() or time.time() - last.stat().st_mtime > FRESH_SECONDS:
            authority = Authority(folder / "webhook", "training-operator-ca")
            authority.issue("tls", WEBHOOK_HOSTS[0], hosts=WEBHOOK_HOSTS)
            for name in WEBHOOK_FILES:
                shutil.copy(authority.folder / name, WEBHOOK_FOLDER / name)
        files = {name: (WEBHOOK_FOLDER / name).read_bytes() for name in WEBHOOK_FILES}
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


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
