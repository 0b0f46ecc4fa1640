"""Peak memory of a command and all its descendants: `python benchmarks/memory.py -- COMMAND...`.

Memory is the proportional set size (PSS): pages that several processes share count once, divided
among them. It is read from the kernel every five seconds, so a shorter peak can be missed.
"""

import argparse
import json
import subprocess
import sys
import time

import psutil

_SECONDS_BETWEEN_READINGS = 5.0


def main() -> int:
    """Run the command, print its peak and the processes that made it, return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND...")
    arguments = parser.parse_args()
    command = [part for part in arguments.command if part != "--"]
    process = subprocess.Popen(command)
    peak: dict[str, int] = {}
    while process.poll() is None:
        now = read_pss(psutil.Process(process.pid))
        if sum(now.values()) > sum(peak.values()):
            peak = now
        time.sleep(_SECONDS_BETWEEN_READINGS)
    print(as_json(peak) if arguments.json else as_text(peak))
    return process.returncode


def read_pss(root: psutil.Process) -> dict[str, int]:
    """Return bytes of PSS by process, as `PID name`."""
    found = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            name = " ".join(process.cmdline()[:4])[:70]
            found[f"{process.pid} {name}"] = process.memory_full_info().pss
        except psutil.Error:
            continue  # It ended between listing and reading.
    return found


def as_text(peak: dict[str, int]) -> str:
    """Return the peak as a table, the largest process first."""
    rows = sorted(peak.items(), key=lambda row: -row[1])
    lines = [f"{size / 2**20:8.0f} MiB  {name}" for name, size in rows]
    return "\n".join([*lines, f"{sum(peak.values()) / 2**30:8.2f} GiB in all at the peak"])


def as_json(peak: dict[str, int]) -> str:
    """Return the peak as JSON, in bytes."""
    return json.dumps({"peak_bytes": sum(peak.values()), "processes": peak}, indent=1)


if __name__ == "__main__":
    sys.exit(main())
