"""Removes what a cluster has left on this machine, also one that was killed.

Processes, mounts, bridges, iptables chains, control groups, kernel settings, folders. Run twice, it
is harmless.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from go_programs import cache_folder
from mounts import mounts_below, unmount_below
from node_network import remove_network, run
from node_settings import CGROUP, FOLDER, NODE, POD_BRIDGE, STATE

_DEADLINE_SECONDS = 30.0
_CHAIN = re.compile(r"^-N (KUBE-\S+)")
_LEADS_THERE = re.compile(r"^-A (?!KUBE-).* -j KUBE-")
_TABLES = [(f, t) for f in ("iptables", "ip6tables") for t in ("filter", "nat", "mangle")]


def clear_up() -> None:
    """Remove everything.

    Raises:
        RuntimeError: something does not go away; it says what.
    """
    _kill(list(_processes()))
    unmount_below(FOLDER)
    remove_network()
    _remove_chains()
    _remove_control_groups()
    _remove_folders_elsewhere()
    shutil.rmtree(FOLDER, ignore_errors=True)
    if left := leftovers():
        raise RuntimeError("the cluster left behind:\n" + "\n".join(left))


def leftovers() -> list[str]:
    """Return what is left of a cluster, a line each; nothing: it is gone."""
    links = set(os.listdir("/sys/class/net")) & {NODE, POD_BRIDGE}
    return [
        *(f"process {pid}: {_command(pid)[:200]}" for pid in _processes()),
        *(f"mount {path}" for path in mounts_below(FOLDER)),
        *(f"network link {name}" for name in sorted(links)),
        *(" ".join(chain) for chain in _chains()),
        *(f"control group {path}" for path in _control_groups()),
        *([f"folder {FOLDER}"] if FOLDER.exists() else []),
    ]


def _processes() -> Iterator[int]:
    """Find the cluster's programs, by its folder in their command, and what runs in pods."""
    in_pods = {
        int(pid)
        for group in _control_groups()
        for file in group.rglob("cgroup.procs")
        for pid in file.read_text().split()
    }
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (int(entry.name) in in_pods or _is_program(entry)):
            yield int(entry.name)


def _is_program(process: Path) -> bool:
    """Say whether it is one of the programs that we build, run for the cluster."""
    try:
        program = Path(os.readlink(process / "exe"))
    except OSError:  # It has ended, or is nobody's to look at.
        return False
    return program.is_relative_to(cache_folder()) and str(FOLDER) in _command(int(process.name))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline and (left := list(_processes())):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def _chains() -> list[tuple[str, str, str]]:
    """Return program, table and name of each chain of Kubernetes."""
    return [
        (program, table, match[1])
        for program, table in _TABLES
        for line in _rules(program, table)
        if (match := _CHAIN.match(line))
    ]


def _rules(program: str, table: str) -> list[str]:
    return run(program, "-w", "-t", table, "-S", check=False).splitlines()


def _remove_chains() -> None:
    """Remove the rules that lead to the chains, then what is in them, then the chains."""
    found = _chains()
    for program, table in _TABLES:
        own = [chain for p, t, chain in found if (p, t) == (program, table)]
        if not own:
            continue
        leading = [line for line in _rules(program, table) if _LEADS_THERE.match(line)]
        lines = [
            f"*{table}",
            *(line.replace("-A", "-D", 1) for line in leading),
            *(f"-{what} {chain}" for what in "FX" for chain in own),
            "COMMIT\n",
        ]
        restore = [f"{program}-restore", "-w", "5", "--noflush"]
        subprocess.run(restore, input="\n".join(lines), text=True, check=True)


def _control_groups() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    return [path for path in (root / CGROUP, *root.glob(f"*/{CGROUP}")) if path.is_dir()]


def _remove_control_groups() -> None:
    for group in _control_groups():
        for folder, _, _ in os.walk(group, topdown=False):
            deadline = time.monotonic() + _DEADLINE_SECONDS
            while Path(folder).exists():
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


def _remove_folders_elsewhere() -> None:
    """Remove the folders that were not there before."""
    if STATE.exists():
        for path in json.loads(STATE.read_text())["absent"]:
            shutil.rmtree(path, ignore_errors=True)
