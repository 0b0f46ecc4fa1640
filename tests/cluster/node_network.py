"""Bridges and kernel settings of the node; nothing listens on the machine's own interfaces."""

import json
import shutil
import subprocess
from pathlib import Path

from node_settings import NODE, NODE_ADDRESS, POD_BRIDGE, POD_NETWORK, STATE, absent_folders

_BRIDGED = "net/bridge/bridge-nf-call-iptables"
KERNEL = {"net/ipv4/ip_forward": "1", _BRIDGED: "1"}
"""What services need."""
KEPT = (*KERNEL, "kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom")
"""What is put back: a kubelet changes some as well."""


def run(*command: str | Path, check: bool = True) -> str:
    """Run a command and return its output.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        told = (done.stdout + done.stderr).strip()
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{told}")
    return done.stdout


def set_up_network(folder: Path) -> Path:
    """Make the bridge with the node's address, and return the folder with the pods' network.

    Raises:
        RuntimeError: the kernel can't do it; the message says what it lacks.
    """
    _load_module()
    kept = {name: _kernel(name).read_text().strip() for name in KEPT if _kernel(name).exists()}
    STATE.write_text(json.dumps({"kernel": kept, "absent": absent_folders()}))
    for name, value in KERNEL.items():
        _kernel(name).write_text(value)
    run("ip", "link", "add", NODE, "type", "bridge")
    run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", NODE)
    run("ip", "link", "set", NODE, "up")
    networks = folder / "cni"
    networks.mkdir()
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        # Pods reach each other and the node, and nothing outside of this machine.
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder / "addresses"),
            "ranges": [[{"subnet": POD_NETWORK}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    network = {"cniVersion": "1.0.0", "name": POD_BRIDGE, "plugins": [bridge]}
    (networks / "10-pods.conflist").write_text(json.dumps(network))
    return networks


def _load_module() -> None:
    """Load what brings the settings of bridges, where nothing on this machine has needed it yet."""
    if _kernel(_BRIDGED).exists():
        return
    if shutil.which("modprobe"):
        run("modprobe", "br_netfilter", check=False)
    if not _kernel(_BRIDGED).exists():
        raise RuntimeError(
            f"the kernel has no /proc/sys/{_BRIDGED}: load its module br_netfilter "
            "(`modprobe br_netfilter`; package kmod)"
        )


def remove_network() -> None:
    """Remove the bridges with what hangs on them, and put kernel settings back."""
    links = json.loads(run("ip", "-json", "link") or "[]")
    for link in links:
        if link.get("master") == POD_BRIDGE:
            run("ip", "link", "delete", link["ifname"], check=False)
    for name in {link["ifname"] for link in links} & {NODE, POD_BRIDGE}:
        run("ip", "link", "delete", name, check=False)
    if STATE.exists():
        for name, value in json.loads(STATE.read_text())["kernel"].items():
            _kernel(name).write_text(value)


def _kernel(name: str) -> Path:
    return Path("/proc/sys") / name
