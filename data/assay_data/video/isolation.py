"""Work on untrusted input in processes that may crash, hang or eat memory without harm.

A task gets one worker, one deadline and one try. A worker limits itself: the kernel ends it by an
alarm at the deadline, and refuses it memory beyond the limit. Its death costs that task only; a new
worker takes the next. Workers live on between tasks, so that start-up is paid once.
"""

import multiprocessing
import resource
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

from assay_data.drops import DropReason

Task = TypeVar("Task")
Result = TypeVar("Result")

DEFAULT_MEMORY_BYTES = 4 * 2**30
LOOK_AHEAD_PER_WORKER = 4
"""Tasks begun before an earlier one is done: bounds the results held in memory."""


class FailureKind(StrEnum):
    """How a task ended without a result."""

    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASHED = "Crashed"


_REASONS = {
    FailureKind.TIMEOUT: DropReason.TIMEOUT,
    FailureKind.OUT_OF_MEMORY: DropReason.OUT_OF_MEMORY,
    FailureKind.CRASHED: DropReason.DECODER_CRASHED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that has no result."""

    kind: FailureKind
    detail: str

    @property
    def reason(self) -> DropReason:
        """Why a file that was the task is dropped."""
        return _REASONS[self.kind]


class IsolatedPool(Generic[Task, Result]):
    """Worker processes that apply one function of a module; a context manager."""

    def __init__(
        self,
        function: Callable[[Task], Result],
        *,
        workers: int,
        deadline_seconds: float,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        """Plan the pool; processes start when tasks come.

        Args:
            function: defined at the top of a module; importing that module is not timed.
            workers: processes at the same time.
            deadline_seconds: wall time of one task.
            memory_bytes: address space of one worker.
        """
        self._limits = (function, deadline_seconds, memory_bytes)
        self._num_workers = workers
        self._workers: list[_Worker[Task, Result]] = []

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all workers at once."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def map(self, tasks: Sequence[Task]) -> Iterator[Result | Failure]:
        """Yield the result of each task, or how it failed, in the order of the tasks."""
        waiting = deque(enumerate(tasks))
        done: dict[int, Result | Failure] = {}
        for index in range(len(tasks)):
            while index not in done:
                limit = index + LOOK_AHEAD_PER_WORKER * self._num_workers
                self._hand_out(waiting, limit)
                done.update(self._collect())
            yield done.pop(index)

    def _hand_out(self, waiting: deque[tuple[int, Task]], limit: int) -> None:
        """Give the next tasks, up to the index `limit`, to workers that have none."""
        while waiting and waiting[0][0] < limit:
            worker = next((w for w in self._workers if w.task_index is None), None)
            if worker is None:
                if len(self._workers) == self._num_workers:
                    return
                worker = _Worker(*self._limits)
                self._workers.append(worker)
            worker.give(*waiting.popleft())

    def _collect(self) -> Iterator[tuple[int, Result | Failure]]:
        """Wait until at least one busy worker is done or dead; yield what came of its task."""
        busy = {w.connection: w for w in self._workers if w.task_index is not None}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            index = worker.task_index
            assert index is not None
            outcome = worker.take()
            if not worker.alive:
                self._workers.remove(worker)
            yield index, outcome


class _Worker(Generic[Task, Result]):
    """One process and the pipe to it."""

    def __init__(
        self, function: Callable[[Task], Result], deadline_seconds: float, memory_bytes: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._deadline_seconds = deadline_seconds
        self._process: BaseProcess = context.Process(
            target=_serve, args=(function, theirs, deadline_seconds, memory_bytes), daemon=True
        )
        self._process.start()
        theirs.close()
        self.task_index: int | None = None
        self.alive = True

    def give(self, index: int, task: Task) -> None:
        self.task_index = index
        try:
            self.connection.send(task)
        except BrokenPipeError:
            return  # It died while idle: take() finds out, as for a death at work.

    def take(self) -> Result | Failure:
        self.task_index = None
        try:
            result: Result | Failure = self.connection.recv()
            return result
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.end()
            return self._epitaph(self._process.exitcode)

    def end(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _epitaph(self, exit_code: int | None) -> Failure:
        if exit_code == -signal.SIGALRM:
            return Failure(
                FailureKind.TIMEOUT, f"not done after {self._deadline_seconds:g} seconds"
            )
        if exit_code is not None and exit_code < 0:
            return Failure(FailureKind.CRASHED, f"ended by {signal.Signals(-exit_code).name}")
        return Failure(FailureKind.CRASHED, f"ended with exit code {exit_code}")


def _serve(
    function: Callable[[Task], Result],
    connection: Connection,
    deadline_seconds: float,
    memory_bytes: int,
) -> None:
    """Apply the function to tasks until the other side is gone, killed perhaps."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        signal.setitimer(signal.ITIMER_REAL, deadline_seconds)
        result = _attempt(function, task)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            connection.send(result)
        except (BrokenPipeError, ConnectionResetError):
            return


def _attempt(function: Callable[[Task], Result], task: Task) -> Result | Failure:
    """Return the result, or the failure that an exception means.

    A boundary: decoders raise anything on a bad file, and one file must not end the others' work.
    """
    try:
        return function(task)
    except MemoryError:
        return Failure(FailureKind.OUT_OF_MEMORY, "needs more memory than a worker may have")
    except Exception as error:
        return Failure(FailureKind.CRASHED, f"{type(error).__name__}: {error}")
