"""A small process that outlives the runner just long enough to end what it left behind.

It waits on a pipe that only the runner holds. When the runner is gone, however it went, the pipe
closes, and every process that carries the run's mark is killed.
"""

import subprocess
import sys

from assay_operator.local.proctree import end_all

RUN_MARK = "ASSAY_RUN"
"""Environment variable of every process of a run."""


def start_guard(run: str) -> "subprocess.Popen[bytes]":
    """Return a guard over the run; it acts when its standard input closes."""
    return subprocess.Popen(
        [sys.executable, "-m", "assay_operator.local.guard", run],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main() -> None:
    """Wait for the runner's end, then end what carries its mark."""
    sys.stdin.buffer.read()
    end_all(lambda marks: marks.get(RUN_MARK) == sys.argv[1])


if __name__ == "__main__":
    main()
