"""Who works on a resource."""

import os
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assay_api.errors import StoreError
from assay_api.layout import ResourceId


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
    machine: str = ""
    """The boot of the machine and the container that `pid` is a number of."""

    def __str__(self) -> str:
        """Return who it is, for people."""
        return f"process {self.pid} on {self.host}, started {self.started} as: {self.command}"

    def died_on(self, machine: str) -> bool:
        """Tell whether it was on this machine and is there no more."""
        return bool(machine) and self.machine == machine and not Path(f"/proc/{self.pid}").exists()


def in_use(resource: ResourceId, store_url: str, holder: Holder | None) -> StoreError:
    """Return the error about a resource that another run works on."""
    return StoreError(
        f"{resource} in {store_url} is being worked on by {holder}; "
        "wait for it, stop it, or use another --store"
    )


def this_run() -> Holder:
    """Return who this process is."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(os.getpid(), socket.gethostname(), " ".join(sys.argv), started, this_machine())


def this_machine() -> str:
    """Return what all processes share among which a process number is unique, until a reboot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
