"""Who works on a resource."""

import os
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that works on a resource."""

    pid: int
    """Its process."""
    host: str
    """The machine it is on."""
    command: str
    """How it was started."""
    started: str
    """When, in UTC."""

    def __str__(self) -> str:
        """Return who it is, for people."""
        return f"process {self.pid} on {self.host}, started {self.started} as: {self.command}"


def this_run() -> Holder:
    """Return who this process is."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(os.getpid(), socket.gethostname(), " ".join(sys.argv), started)
