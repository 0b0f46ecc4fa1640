"""Workloads as child processes: started, watched, stopped; nothing of them outlives this one."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from assay_api.errors import WorkloadError
from assay_api.layout import ResourceId
from assay_operator.local.command import Command
from assay_operator.local.guard import RUN_MARK, Guard
from assay_operator.local.proctree import Marks, end_all

STORE_MARK = "ASSAY_STORE_OWNER"
"""Environment variable that names the store a process works for."""
RESOURCE_MARK = "ASSAY_RESOURCE"
"""Environment variable that names the resource a process works for."""
GRACE_SECONDS = 15.0
"""Time between the request to end and the kill."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(slots=True)
class _Child:
    popen: "subprocess.Popen[bytes]"
    kill_at_seconds: float | None = None
    """When it is killed; None: nobody asked it to end."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a workload ended."""

    exit_code: int
    """Negative: the signal that killed it."""
    stopped: bool
    """Whether we had asked it to end."""


def end_leftovers(store: Path, resources: Collection[ResourceId]) -> int:
    """Kill what an earlier run left of the resources' workloads; return how many processes.

    Only for who holds the resources' locks.
    """
    names = {str(resource) for resource in resources}

    def is_ours(marks: Marks) -> bool:
        return marks.get(STORE_MARK) == str(store) and marks.get(RESOURCE_MARK) in names

    return end_all(is_ours)


class Processes:
    """The live workloads of this run, at most one per resource. A context: its end ends them."""

    def __init__(self, store: Path) -> None:
        """Take the store's folder, which marks every process."""
        self._store = store
        self._run = uuid.uuid4().hex
        self._children: dict[ResourceId, _Child] = {}

    def __enter__(self) -> Self:
        """Start the guard."""
        self._guard = Guard(self._run)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every workload, and the guard."""
        self.stop_all()
        self._guard.close()

    def start(self, resource: ResourceId, command: Command, log: Path) -> None:
        """Start a workload in a session of its own; its output goes to the log file.

        Raises:
            WorkloadError: the program can't be started, or the log can't be written.
        """
        assert resource not in self._children, f"{resource} has a live workload"
        env = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **command.env,
            RUN_MARK: self._run,
            STORE_MARK: str(self._store),
            RESOURCE_MARK: str(resource),
        }
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                popen = subprocess.Popen(
                    command.argv,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with(os.getpid()),
                )
        except OSError as error:
            raise WorkloadError(f"{resource} can't be started ({log}): {error}") from error
        self._children[resource] = _Child(popen)
        self._guard.watch(popen.pid)

    def stop(self, resource: ResourceId) -> None:
        """Ask a workload to end (SIGTERM to its group); asking again changes nothing."""
        child = self._children.get(resource)
        if child and child.kill_at_seconds is None:
            child.kill_at_seconds = time.monotonic() + GRACE_SECONDS
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.popen.pid, signal.SIGTERM)

    def take_ended(self) -> dict[ResourceId, Exit]:
        """Return the workloads that ended since the last call; nothing of them runs any more."""
        ended = {}
        for resource, child in list(self._children.items()):
            if child.kill_at_seconds is not None and time.monotonic() > child.kill_at_seconds:
                self._end_tree(resource)
            exit_code = child.popen.poll()
            if exit_code is not None:
                self._end_tree(resource)
                self._guard.forget(child.popen.pid)
                del self._children[resource]
                ended[resource] = Exit(exit_code, child.kill_at_seconds is not None)
        return ended

    def stop_all(self) -> None:
        """Ask every workload to end, wait, and kill what is left; an interrupt kills at once."""
        for resource in self._children:
            self.stop(resource)
        try:
            for child in self._children.values():
                assert child.kill_at_seconds is not None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.popen.wait(max(0.0, child.kill_at_seconds - time.monotonic()))
        finally:
            sessions = [child.popen.pid for child in self._children.values()]
            end_all(lambda marks: marks.get(RUN_MARK) == self._run, sessions)
            for child in self._children.values():
                child.popen.wait()

    def _end_tree(self, resource: ResourceId) -> None:
        def is_ours(marks: Marks) -> bool:
            return marks.get(RUN_MARK) == self._run and marks.get(RESOURCE_MARK) == str(resource)

        end_all(is_ours, [self._children[resource].popen.pid])


def _die_with(parent: int) -> Callable[[], None]:
    """Return what runs in the new process: it is killed when the one that started it ends."""

    def ask_the_kernel() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel
