"""Processes of this machine found by a mark in their environment, and ended for certain.

Children inherit their parent's environment, so a mark finds whole trees, those of Ray and vLLM
included, whichever session or parent they have moved to.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from assay_api.errors import WorkloadError

Marks = Mapping[str, str]
"""Environment variables of a process."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs."""

    pid: int
    """Its number."""
    parent: int
    """Number of its parent."""
    marks: Marks
    """Its environment when it began, as far as we may read it."""


def scan() -> dict[int, Process]:
    """Return all processes that run, by number; those that only wait to be reaped are left out."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    pid = int(folder.name)
                    found[pid] = Process(pid, int(parent), _marks(folder / "environ"))
    return found


def _marks(file: Path) -> Marks:
    try:
        entries = file.read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


def select(processes: Mapping[int, Process], is_ours: Callable[[Marks], bool]) -> list[int]:
    """Return the marked processes and all below them, children before parents.

    This process and those above it are never among them.
    """
    spared = set(_line_of(os.getpid(), processes))
    lines = {pid: _line_of(pid, processes) for pid in processes}
    ours = [
        pid
        for pid, line in lines.items()
        if pid not in spared
        and any(is_ours(processes[p].marks) for p in line if p in processes and p not in spared)
    ]
    return sorted(ours, key=lambda pid: -len(lines[pid]))


def _line_of(pid: int, processes: Mapping[int, Process]) -> list[int]:
    line = [pid]
    while (found := processes.get(line[-1])) and found.parent and found.parent not in line:
        line.append(found.parent)
    return line


def end_all(is_ours: Callable[[Marks], bool], timeout_seconds: float = 20.0) -> int:
    """Kill the marked processes and all below them; return how many there were, once all are gone.

    Raises:
        WorkloadError: some are still there after the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    seen: set[int] = set()
    while pids := select(scan(), is_ours):
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
