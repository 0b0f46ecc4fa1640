"""Mounts below a folder, also those that a killed run has left there."""

import subprocess
from pathlib import Path


def mounts_below(folder: Path) -> list[str]:
    """Return the mount points in a folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return sorted((point for point in points if Path(point).is_relative_to(folder)), reverse=True)


def unmount_below(folder: Path) -> None:
    """Unmount all of them; what is in use goes with its last user."""
    for point in mounts_below(folder):
        subprocess.run(["umount", "--lazy", point], capture_output=True)
