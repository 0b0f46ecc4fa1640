"""A real Kubernetes control plane on free ports of this machine, without nodes.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler; no root, no containers. Pods are
played by `fake_kubelet.py`.
"""

import functools
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import urllib3
from background import Background
from certificates import Authority, new_key
from cluster_api import ApiError, ClusterApi, Object, write_kubeconfig
from go_programs import ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER, built
from object_server import free_port
from started import Started

SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
"""The API server, as pods reach it: the first address of all services."""
LOOPBACK = "127.0.0.1"
# Never dialled: the server wants one that is not loopback.
ADVERTISED = "198.51.100.1"
TOKEN_SECONDS = 6 * 3600


class ControlPlane(Started):
    """A context: it starts in a few seconds, and everything is gone at the end."""

    def __init__(self, folder: Path | None = None, address: str = LOOPBACK) -> None:
        """Choose ports and make the certificates.

        Args:
            folder: for certificates, data and logs; a temporary one that goes at the end if none
                is given.
            address: where the API server listens; pods of a real node don't reach loopback.
        """
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="control-plane-"))
        self.authority = Authority(self.folder / "certificates")
        self._address = address
        self.server = f"https://{address}:{free_port()}"
        self.admin = self._client("admin", ["system:masters"])
        """The client of a user who may do everything."""
        self.kubeconfig = write_kubeconfig(self.folder / "admin.kubeconfig", self.admin)
        """The same user's kubeconfig."""
        self._processes: list[Background] = []

    def start(self) -> None:
        """Start everything, and return when pods can be created in `default`.

        Raises:
            RuntimeError: a program does not answer within a minute; with the end of its log.
        """
        try:
            self._start_etcd()
            self._start_server()
            self._start_controllers()
            self.wait_for_namespace("default")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill everything: nobody wants its data any more."""
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart_server(self) -> None:
        """Kill the API server and start it again; return when it answers. All it had is kept."""
        self._server.kill()
        self._server.start()
        self._server.ready(self._is_ready)

    def log_tails(self) -> str:
        """Return the end of each program's log."""
        return "\n".join(f"--- {p.name}\n{p.tail()}" for p in self._processes)

    def new_namespace(self, prefix: str = "test", labels: dict[str, str] | None = None) -> str:
        """Create a namespace of a random name, and return it when it takes pods."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels or {}}
        self.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.wait_for_namespace(name)
        return name

    def wait_for_namespace(self, name: str) -> None:
        """Wait until a namespace has what pods need: its ServiceAccount and the authority."""
        for kind, wanted in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
            self.admin.wait(
                f"{kind} {wanted} of namespace {name}",
                functools.partial(self.admin.find, "v1", kind, wanted, name),
                seconds=60,
            )

    def client_of(self, service_account: str, namespace: str) -> ClusterApi:
        """Return a client that may do what a ServiceAccount may do."""
        path = self.admin.path("v1", "ServiceAccount", namespace, service_account)
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        made = self.admin.request("POST", f"{path}/token", asked)
        return ClusterApi(self.server, self.authority.certificate, token=made["status"]["token"])

    def kubeconfig_of(self, service_account: str, namespace: str) -> Path:
        """Return the kubeconfig of a ServiceAccount, so that a program runs with its rights."""
        path = self.folder / f"{namespace}-{service_account}.kubeconfig"
        return write_kubeconfig(path, self.client_of(service_account, namespace), namespace)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> str:
        """Return the path of a kubeconfig of one of the cluster's own users."""
        name = user.rpartition(":")[2]
        pair = self.authority.issue(name, user, groups)
        client = ClusterApi(self.server, self.authority.certificate, certificate=pair)
        return str(write_kubeconfig(self.folder / f"{name}.kubeconfig", client))

    def apply_crds(self, manifests: list[Object]) -> None:
        """Apply CustomResourceDefinitions, and return when their resources are served."""
        for manifest in manifests:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            if self.admin.find(manifest["apiVersion"], kind, name):
                self.admin.apply(manifest)
            else:
                # Several times as fast as applying, for definitions of a megabyte.
                self.admin.create(manifest)
        for manifest in manifests:
            spec = manifest["spec"]
            served = next(v["name"] for v in spec["versions"] if v["served"])
            path = f"/apis/{spec['group']}/{served}/{spec['names']['plural']}"
            self.admin.wait(path, functools.partial(self.admin.request, "GET", path), seconds=60)

    def _client(self, name: str, groups: list[str]) -> ClusterApi:
        pair = self.authority.issue(name, name, groups)
        return ClusterApi(self.server, self.authority.certificate, certificate=pair)

    def _run(self, name: str, program: Path, flags: dict[str, str]) -> Background:
        command = [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]
        process = Background(name, command, self.folder / f"{name}.log")
        self._processes.append(process)
        process.start()
        return process

    def _start_etcd(self) -> None:
        self._etcd = f"http://127.0.0.1:{free_port()}"
        peers = f"http://127.0.0.1:{free_port()}"
        flags = {
            "name": "tests",
            "data-dir": str(self.folder / "etcd"),
            "listen-client-urls": self._etcd,
            "advertise-client-urls": self._etcd,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"tests={peers}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }
        self._run("etcd", built(ETCD), flags)

    def _start_server(self) -> None:
        hosts = [self._address, KUBERNETES_SERVICE, "localhost", "kubernetes.default.svc"]
        certificate, key = self.authority.issue("server", "kube-apiserver", hosts=hosts)
        self._token_key = new_key(self.folder / "tokens.key")
        flags = {
            "etcd-servers": self._etcd,
            "bind-address": self._address,
            "secure-port": self.server.rpartition(":")[2],
            "tls-cert-file": str(certificate),
            "tls-private-key-file": str(key),
            "client-ca-file": str(self.authority.certificate),
            "authorization-mode": "Node,RBAC",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(self._token_key),
            "service-account-signing-key-file": str(self._token_key),
            "service-cluster-ip-range": SERVICES,
            "allow-privileged": "true",
            "profiling": "false",
            **self._flags_of_address(),
        }
        self._server = self._run("kube-apiserver", built(KUBE_APISERVER), flags)
        self._server.ready(self._is_ready)

    def _flags_of_address(self) -> dict[str, str]:
        if self._address == LOOPBACK:
            return {"advertise-address": ADVERTISED, "endpoint-reconciler-type": "none"}
        certificate, key = self.authority.issue("kubelet-client", "admin", ["system:masters"])
        return {
            "advertise-address": self._address,
            "kubelet-certificate-authority": str(self.authority.certificate),
            "kubelet-client-certificate": str(certificate),
            "kubelet-client-key": str(key),
            "kubelet-preferred-address-types": "InternalIP",
        }

    def _start_controllers(self) -> None:
        flags = {
            "bind-address": "127.0.0.1",
            "leader-elect": "false",
            "profiling": "false",
        }
        manager = {
            "kubeconfig": self.kubeconfig_for("system:kube-controller-manager"),
            "secure-port": str(free_port()),
            "use-service-account-credentials": "true",
            "service-account-private-key-file": str(self._token_key),
            "root-ca-file": str(self.authority.certificate),
            # With the default limits a first ServiceAccount takes five seconds.
            "kube-api-qps": "500",
            "kube-api-burst": "1000",
        }
        scheduler = {
            "kubeconfig": self.kubeconfig_for("system:kube-scheduler"),
            "secure-port": str(free_port()),
        }
        self._run("kube-controller-manager", built(KUBE_CONTROLLER_MANAGER), flags | manager)
        self._run("kube-scheduler", built(KUBE_SCHEDULER), flags | scheduler)

    def _is_ready(self) -> bool:
        try:
            return bool(self.admin.request("GET", "/readyz") == "ok")
        except (ApiError, OSError, urllib3.exceptions.HTTPError):
            return False
