"""`make cluster` and `make cluster-down`: a cluster to play with, left running in the background.

`python tests/cluster/cluster_command.py up | down | serve`: `up` starts `serve` in the background
and returns when everything is ready; `serve` holds the cluster until it is told to end.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
for _folder in ("chart", "cluster", "controlplane", "servers"):
    sys.path.insert(0, str(HERE.parent / _folder))

from cluster_addons import install_addons, wait_for_addons  # noqa: E402
from go_programs import KUBECTL, built  # noqa: E402
from installed_assay import NAMESPACE, install_assay, wait_for_assay  # noqa: E402
from node_clearup import clear_up  # noqa: E402
from node_images import PROJECT  # noqa: E402
from node_settings import FOLDER, LOCK  # noqa: E402
from one_node_cluster import OneNodeCluster  # noqa: E402
from project_images import load_host_image  # noqa: E402

PID_FILE = Path("/run/assay-cluster.pid")
LOG = Path("/var/log/assay-cluster.log")
PLAYGROUND = "lab"
"""Namespace that has the store's credentials."""
_READY = "ready"
_START_SECONDS = 240.0
_STOP_SECONDS = 60.0
_TINY = "manifests/recipes/busterx-plusplus/tiny"


def up() -> None:
    """Start a cluster in the background, with Assay on it, and say how to use it.

    Raises:
        SystemExit: it does not start; with the end of its log.
    """
    server = None if _pid() else _start_server()
    deadline, num_shown = time.monotonic() + _START_SECONDS, 0
    while time.monotonic() < deadline:
        ended = server is not None and server.poll() is not None
        lines = LOG.read_text().splitlines()
        for line in lines[num_shown:]:
            print(f"cluster: {line}", flush=True)
        num_shown = len(lines)
        if _READY in lines:
            _say_how()
            return
        if ended:
            break
        time.sleep(0.5)
    raise SystemExit(f"cluster: it did not start; see {LOG}")


def _start_server() -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(Path(__file__).resolve()), "serve"]
    with LOG.open("wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def down() -> None:
    """End the cluster, and remove everything that it has left on this machine."""
    pid = _pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _pid() is not None and time.monotonic() < deadline:
            time.sleep(0.2)
    # Also after one that was killed.
    clear_up()
    for file in (PID_FILE, LOG, LOCK):
        file.unlink(missing_ok=True)
    print("cluster: gone; no process, mount, bridge, control group or iptables chain is left")


def serve() -> None:
    """Run the cluster until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    PID_FILE.write_text(str(os.getpid()))
    try:
        with OneNodeCluster(shows_host=True) as cluster:
            print("the node is ready", flush=True)
            plane = cluster.control_plane
            metadata = {"name": PLAYGROUND}
            plane.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            tag = load_host_image(cluster)
            install_addons(cluster)
            print("the training operator and KubeRay's are installed", flush=True)
            install_assay(cluster, tag, store={"secretNamespaces": [PLAYGROUND]})
            wait_for_assay(cluster)
            wait_for_addons(cluster)
            print(f"Assay is installed, in namespace {NAMESPACE}", flush=True)
            print(_READY, flush=True)
            signal.pause()
    finally:
        PID_FILE.unlink(missing_ok=True)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _pid() -> int | None:
    """Return the process that serves, if there is one."""
    try:
        pid = int(PID_FILE.read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    return pid


def _say_how() -> None:
    kubeconfig = FOLDER / "control-plane/admin.kubeconfig"
    recipe = _TINY if Path.cwd() == PROJECT else PROJECT / _TINY
    print(
        f"\nexport KUBECONFIG={kubeconfig} PATH=$PATH:{built(KUBECTL).parent}\n\n"
        f"kubectl --namespace {PLAYGROUND} apply -f {recipe}\n"
        f"kubectl --namespace {PLAYGROUND} get tstage --watch\n"
        f"kubectl --namespace {PLAYGROUND} get evaluation held-out -o yaml\n\n"
        "`make cluster-down` ends it."
    )


if __name__ == "__main__":
    {"up": up, "down": down, "serve": serve}[sys.argv[1]]()
