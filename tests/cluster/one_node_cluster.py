"""A real cluster of one node on this machine: control plane, containerd, kubelet, kube-proxy, DNS.

As root; one per machine. It uses addresses on bridges and in network namespaces that it makes
itself, and `node_clearup.py` removes all of it again. This network enforces no NetworkPolicy.
"""

import fcntl
import functools
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from background import Background
from control_plane import ControlPlane
from debian_packages import need_programs
from go_programs import (
    CNI_PLUGINS,
    CONTAINERD,
    CONTAINERD_SHIM,
    COREDNS,
    CTR,
    KUBE_PROXY,
    KUBELET,
    built,
)
from node_clearup import clear_up
from node_images import PAUSE_IMAGE, ImageArchive, host_folders, small_images
from node_network import run, set_up_network
from node_settings import (
    CGROUP,
    CPU_SHARES,
    FOLDER,
    LOCK,
    MEMORY_LIMITS,
    NODE,
    NODE_ADDRESS,
    POD_NETWORK,
    PODS_BYTES,
    SOCKET,
)
from started import Started

NEEDED = {"ip": "iproute2", "iptables": "iptables", "runc": "runc", "setpriv": "util-linux"}
"""Programs of this machine, and the packages of Debian that have them."""
_CORE_FILE = """
cluster.local:53 in-addr.arpa:53 {{
    bind {address}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    errors
}}
.:53 {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
_CONTAINERD_CONFIG = """
version = 3
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
enable_cdi = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = {plugins}
conf_dir = "{networks}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{spec}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"""


class OneNodeCluster(Started):
    """A context: the node is ready at its start, and nothing is left at its end."""

    def __init__(self, *, shows_host: bool) -> None:
        """Describe it.

        Args:
            shows_host: whether containers see this machine's programs, Python and checkout, which
                the empty image of `node_images.py` needs.
        """
        self._shows_host = shows_host
        self._lock: IO[str] | None = None
        self._processes: dict[str, Background] = {}
        self.control_plane: ControlPlane

    def claim(self) -> None:
        """Keep other clusters away, and clear up after a killed run.

        Raises:
            RuntimeError: this is not root, a program is missing, or another cluster runs.
        """
        need_programs(NEEDED, "a cluster with pods (tests/cluster)")
        self._lock = LOCK.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise RuntimeError(
                f"a cluster runs on this machine already ({LOCK} is locked): `make cluster-down` "
                "ends one that `make cluster` has left"
            ) from None
        clear_up()

    def start(self) -> None:
        """Claim this machine, start everything, and return when the node is ready.

        Raises:
            RuntimeError: `claim` refuses, or a program does not answer.
        """
        self.claim()
        FOLDER.mkdir(mode=0o755)
        try:
            networks = set_up_network(FOLDER)
            self.control_plane = ControlPlane(FOLDER / "control-plane", NODE_ADDRESS)
            self.control_plane.start()
            self._start_containerd(networks)
            self.load(small_images())
            self._start_kubelet()
            self._start_network()
            self._wait_for_node()
        except BaseException as error:
            error.add_note(self.log_tails())
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, and remove it from this machine."""
        for process in reversed(self._processes.values()):
            process.kill()
        self._processes.clear()
        if hasattr(self, "control_plane"):
            self.control_plane.stop()
        clear_up()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self, images: list[ImageArchive]) -> None:
        """Bring images to the node."""
        for number, image in enumerate(images):
            archive = image.write(FOLDER / f"image-{number}.tar")
            run(*self.import_command(archive))
            archive.unlink()

    def import_command(self, archive: str | Path) -> list[str | Path]:
        """Return the command that brings the images of an archive of `docker save` to the node."""
        return _ctr("images", "import", "--local", archive)

    def restart_kubelet(self) -> None:
        """Kill the kubelet and start it again; its pods go on."""
        self._processes["kubelet"].kill()
        self._processes["kubelet"].start()

    def log_tails(self) -> str:
        """Return the end of each program's log."""
        return "\n".join(f"--- {p.name}\n{p.tail()}" for p in self._processes.values())

    def _start_containerd(self, networks: Path) -> None:
        folder = SOCKET.parent
        folder.mkdir()
        spec = FOLDER / "container.json"
        config = folder / "config.toml"
        config.write_text(
            _CONTAINERD_CONFIG.format(
                folder=FOLDER,
                socket=SOCKET,
                pause=PAUSE_IMAGE,
                plugins=json.dumps([str(built(plugin).parent) for plugin in CNI_PLUGINS]),
                networks=networks,
                spec=spec,
                runc=shutil.which("runc"),
            )
        )
        spec.write_text(json.dumps(_container_spec(host_folders() if self._shows_host else {})))
        process = self._run(
            "containerd",
            [str(built(CONTAINERD)), "--config", str(config)],
            PATH=f"{built(CONTAINERD_SHIM).parent}:{os.environ['PATH']}",
        )
        process.ready(self._containerd_answers)

    def _containerd_answers(self) -> bool:
        try:
            return bool(run(*_ctr("version")))
        except RuntimeError:
            return False

    def _start_kubelet(self) -> None:
        for hierarchy in _hierarchies():
            (hierarchy / CGROUP).mkdir(exist_ok=True)
            for file, value in (*((name, str(PODS_BYTES)) for name in MEMORY_LIMITS), CPU_SHARES):
                if (setting := hierarchy / CGROUP / file).exists():
                    setting.write_text(value)
        authority = self.control_plane.authority
        certificate, key = authority.issue("kubelet", NODE, hosts=[NODE_ADDRESS, NODE])
        config = FOLDER / "kubelet.yaml"
        content = _kubelet_config(authority.certificate, certificate, key)
        config.write_text(yaml.safe_dump(content))
        identity = self.control_plane.kubeconfig_for(f"system:node:{NODE}", ["system:nodes"])
        flags = {
            "config": config,
            "kubeconfig": identity,
            "root-dir": FOLDER / "kubelet",
            "hostname-override": NODE,
            "node-ip": NODE_ADDRESS,
        }
        command = [str(built(KUBELET)), *(f"--{name}={value}" for name, value in flags.items())]
        self._run("kubelet", command)

    def _start_network(self) -> None:
        proxy = FOLDER / "kube-proxy.yaml"
        proxy.write_text(yaml.safe_dump(_proxy_config(self._kubeconfig("system:kube-proxy"))))
        self._run("kube-proxy", [str(built(KUBE_PROXY)), f"--config={proxy}"])
        admin = self.control_plane.kubeconfig
        names = FOLDER / "Corefile"
        names.write_text(_CORE_FILE.format(address=NODE_ADDRESS, kubeconfig=admin))
        self._run("coredns", [str(built(COREDNS)), "-conf", str(names)])

    def _kubeconfig(self, user: str) -> str:
        return self.control_plane.kubeconfig_for(user)

    def _wait_for_node(self) -> None:
        admin = self.control_plane.admin
        admin.wait(
            f"node {NODE} is ready",
            lambda: _is_ready(admin.get("v1", "Node", NODE)),
            seconds=60,
            shown=functools.partial(admin.find, "v1", "Node", NODE),
        )

    def _run(self, name: str, command: list[str], **environment: str) -> Background:
        process = Background(name, command, FOLDER / f"{name}.log", environment)
        self._processes[name] = process
        process.start()
        return process


def _ctr(*arguments: str | Path) -> list[str | Path]:
    """Return the command that asks containerd about Kubernetes' images."""
    return [built(CTR), "--address", SOCKET, "--namespace", "k8s.io", *arguments]


def _container_spec(folders: Mapping[Path, str]) -> dict[str, Any]:
    """Return what every container begins as: containerd's own, and folders of this machine."""
    spec: dict[str, Any] = json.loads(run(built(CTR), "oci", "spec"))
    for folder, place in folders.items():
        mount = {"destination": place, "type": "bind", "source": str(folder)}
        spec["mounts"].append({**mount, "options": ["rbind", "ro"]})
    return spec


def _kubelet_config(authority: Path, certificate: Path, key: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "readOnlyPort": 0,
        "healthzBindAddress": NODE_ADDRESS,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": ["pods"],
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "podLogsDir": str(FOLDER / "pod-logs"),
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        # A full disk of the machine is not the cluster's to clear.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "evictionPressureTransitionPeriod": "5s",
        # Pods see a change of a Secret, and the API server one of a pod, without a minute's delay.
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "4s",
    }


def _proxy_config(kubeconfig: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": NODE_ADDRESS,
        "healthzBindAddress": f"{NODE_ADDRESS}:10256",
        "metricsBindAddress": f"{NODE_ADDRESS}:10249",
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": NODE,
        "mode": "iptables",
        # The machine's limits stay as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _hierarchies() -> list[Path]:
    """Return the control group hierarchies in which a kubelet looks for its root."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
