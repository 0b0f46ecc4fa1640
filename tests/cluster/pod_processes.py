"""Processes in a pod, as this machine sees them: what faults are done to."""

import os
import signal
from pathlib import Path

from cluster_api import Object
from node_settings import CGROUP


def processes_of(pod: Object, *words: str) -> list[int]:
    """Return the numbers of a pod's processes that have all these words in their command."""
    found: set[int] = set()
    for group in control_groups(pod):
        for file in group.rglob("cgroup.procs"):
            found |= {int(pid) for pid in file.read_text().split()}
    return [pid for pid in sorted(found) if all(word in command_of(pid) for word in words)]


def control_groups(pod: Object) -> list[Path]:
    """Return the control groups of a pod, one of each hierarchy."""
    uid = pod["metadata"]["uid"]
    return list(Path("/sys/fs/cgroup").glob(f"*/{CGROUP}/kubepods/**/pod{uid}"))


def command_of(pid: int) -> str:
    """Return a process's command; nothing: it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill(pids: list[int]) -> None:
    """Kill processes."""
    assert pids, "there is nothing to kill"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
