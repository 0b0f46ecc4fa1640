"""Programs that run beside the tests, and never outlive them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass
class Background:
    """A program with its own session and log file; the kernel kills it when this process ends.

    The kernel looks at the thread that started it: start it from the main thread.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it; it need not be ready yet."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise RuntimeError("setpriv is missing: install the package util-linux")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", *self.command],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self, answers: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.runs():
                break
            if answers():
                return
            time.sleep(0.05)
        what = "does not answer" if self.runs() else "has ended"
        raise RuntimeError(f"{self.name} {what}; the end of {self.log}:\n{self.tail()}")

    def runs(self) -> bool:
        """Say whether it is still there."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Kill it at once: for programs whose data nobody wants any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def tail(self, num_lines: int = 15) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line[:400] for line in lines[-num_lines:])
