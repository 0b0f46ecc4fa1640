"""Processes of this machine found by a mark in their environment, and ended for certain.

Children inherit their parent's environment, so a mark finds whole trees, those of Ray and vLLM
included, whichever session or parent they have moved to. A program that writes its own title (Ray's
agents do) wipes the mark out; it is found by its parent or by its session.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from assay_api.errors import WorkloadError

_KERNEL_THREAD = 0x00200000
"""The flag PF_KTHREAD of /proc/PID/stat."""
_START_SECONDS = 1.0
"""How long a program is waited for that is just being started."""

Marks = Mapping[str, str]
"""Environment variables of a process."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs."""

    pid: int
    """Its number."""
    parent: int
    """Number of its parent."""
    session: int
    """Number of the process that began its session."""
    marks: Marks
    """Its environment when it began, as far as we may read it."""


def scan(proc: Path = Path("/proc")) -> dict[int, Process]:
    """Return all processes that run, by number; those that only wait to be reaped are left out."""
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                if process := _read(folder):
                    found[process.pid] = process
    return found


def _read(folder: Path) -> Process | None:
    # For a moment, a program that is being started has neither arguments nor an environment.
    deadline = time.monotonic() + _START_SECONDS
    while True:
        state, parent, _, session, _, _, flags = _stat(folder)[:7]
        if state in "ZX":
            return None
        environment = _environment(folder)
        is_kernels = bool(int(flags) & _KERNEL_THREAD)
        started = environment or is_kernels or (folder / "cmdline").read_bytes()
        if started or time.monotonic() > deadline:
            return Process(int(folder.name), int(parent), int(session), _marks(environment))
        time.sleep(0.001)


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _environment(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except PermissionError:
        return b""


def _marks(environment: bytes) -> Marks:
    pairs = (os.fsdecode(entry).partition("=") for entry in environment.split(b"\0"))
    return {name: value for name, _, value in pairs}


def select(
    processes: Mapping[int, Process],
    is_ours: Callable[[Marks], bool],
    sessions: Collection[int] = (),
) -> list[int]:
    """Return the marked processes, all below them and all of their sessions, children first.

    This process, those above it and their sessions are never among them.

    Args:
        processes: all that run.
        is_ours: tells a mark.
        sessions: other sessions to be ended, whose marked processes may be gone already.
    """
    spared = set(_line_of(os.getpid(), processes))
    marked = {
        pid for pid, process in processes.items() if pid not in spared and is_ours(process.marks)
    }
    doomed = {*sessions, *(processes[pid].session for pid in marked)}
    doomed -= {processes[pid].session for pid in spared if pid in processes}
    roots = marked | {pid for pid, process in processes.items() if process.session in doomed}
    lines = {pid: _line_of(pid, processes) for pid in processes}
    ours = [pid for pid, line in lines.items() if pid not in spared and not roots.isdisjoint(line)]
    return sorted(ours, key=lambda pid: -len(lines[pid]))


def _line_of(pid: int, processes: Mapping[int, Process]) -> list[int]:
    line = [pid]
    while (found := processes.get(line[-1])) and found.parent and found.parent not in line:
        line.append(found.parent)
    return line


def end_all(
    is_ours: Callable[[Marks], bool],
    sessions: Collection[int] = (),
    timeout_seconds: float = 20.0,
) -> int:
    """Kill what `select` finds; return how many processes there were, once all are gone.

    Raises:
        WorkloadError: some are still there after the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    seen: set[int] = set()
    while pids := select(scan(), is_ours, sessions):
        seen.update(pids)
        if time.monotonic() > deadline:
            numbers = " ".join(map(str, pids))
            raise WorkloadError(
                f"processes of an earlier run can't be ended: {numbers}; "
                f"end them (kill -9 {numbers}) and run again"
            )
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return len(seen)
