"""Where the one-node cluster lies on this machine, and the addresses that it uses."""

from pathlib import Path

FOLDER = Path("/var/lib/assay-cluster")
"""Everything that a running cluster has: data, sockets, logs, certificates. One per machine."""
LOCK = Path("/run/lock/assay-cluster.lock")
"""Held by who runs the cluster."""

NODE = "assay-node"
"""Name of the node, and of the bridge that has its address."""
NODE_ADDRESS = "10.240.0.1"
POD_BRIDGE = "assay-pods"
POD_NETWORK = "10.244.0.0/24"
CGROUP = "assay-cluster"
"""Control group of all pods, in each hierarchy."""
MEMORY_LIMITS = ("memory.limit_in_bytes", "memory.max")
"""File of a control group with its limit, of version 1 and of version 2."""
PODS_BYTES = 11 * 2**30
"""Memory that all pods together may use, whatever the machine has: a node of 12 GiB."""
CPU_SHARES = ("cpu.shares", "8192")
"""File of a control group of version 1, and what all pods get: as eight processes outside of it.

Without it, all pods together count as one process, and wait where other tests run beside them."""
SOCKET = FOLDER / "containerd/containerd.sock"
"""Where containerd answers."""
STATE = FOLDER / "machine.json"
"""What this machine was before: kernel settings, and folders that were not there."""
ELSEWHERE = ("/etc/cni", "/run/containerd", "/var/lib/cni", "/var/log/containers")
"""Folders that containerd and a kubelet make wherever they are told to have theirs."""


def absent_folders() -> list[str]:
    """Return which of the folders elsewhere are not there."""
    return [path for path in ELSEWHERE if not Path(path).exists()]
