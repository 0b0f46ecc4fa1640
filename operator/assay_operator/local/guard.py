"""A small process that outlives the runner just long enough to end what it left behind.

It waits on a pipe that only the runner holds, and is told on it which sessions are the run's. When
the runner is gone, however it went, the pipe closes, and every process that carries the run's mark
or belongs to one of its sessions is killed.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterable

from assay_operator.local.proctree import end_all

RUN_MARK = "ASSAY_RUN"
"""Environment variable of every process of a run."""


class Guard:
    """Watches over a run's processes from a process of its own; acts when this one is gone."""

    def __init__(self, run: str) -> None:
        """Start it; `run` is the mark's value."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "assay_operator.local.guard", run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, session: int) -> None:
        """Have it end a session too."""
        self._tell(f"+{session}")

    def forget(self, session: int) -> None:
        """Have it leave a session alone: it has ended, and its number may be given anew."""
        self._tell(f"-{session}")

    def close(self) -> None:
        """Have it act now; return once it has."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()


def sessions_of(lines: Iterable[bytes]) -> set[int]:
    r"""Return the sessions that are to be ended, after all that was told.

    Example:
        >>> sessions_of([b"+7\n", b"+8\n", b"-7\n"])
        {8}
    """
    sessions: set[int] = set()
    for line in lines:
        session = int(line[1:])
        if line.startswith(b"+"):
            sessions.add(session)
        else:
            sessions.discard(session)
    return sessions


def main() -> None:
    """Wait for the runner's end, then end what is its."""
    sessions = sessions_of(sys.stdin.buffer)
    end_all(lambda marks: marks.get(RUN_MARK) == sys.argv[1], sessions)


if __name__ == "__main__":
    main()
