"""Processes in a pod, as this machine sees them: what faults are done to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    root = Path("/sys/fs/cgroup")
    hierarchies = [root / CGROUP, *root.glob(f"*/{CGROUP}")]
    return [found for one in hierarchies for found in one.glob(f"kubepods/**/pod{uid}")]


def exhaust_memory(pod: Object) -> None:
    """Let a pod's container reach its limit of memory: the kernel kills its largest process."""
    used = {
        limit: int(limit.with_name(usage_file).read_text())
        for group in control_groups(pod)
        for limit_file, usage_file in _MEMORY
        for limit in group.glob(f"*/{limit_file}")
    }
    # The other one is the pause container, of a few MiB.
    limit = max(used, key=lambda one: used[one])
    limit.write_text(str(used[limit] + _LEFT_BYTES))
    subprocess.run([sys.executable, "-c", _TAKES_MEMORY, str(limit.parent)], timeout=60)


_MEMORY = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("memory.max", "memory.current"),
)
"""Limit and usage, of either version of control groups."""
_LEFT_BYTES = 2**27
_TAKES_MEMORY = f"""
import os, pathlib, sys, time
pathlib.Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
taken = b"x" * {4 * _LEFT_BYTES}
time.sleep(5)
"""


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


@contextmanager
def held(pids: list[int]) -> Iterator[None]:
    """Stop processes, and let them go on at the end of the block."""
    assert pids, "there is nothing to hold"
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
