"""Processes that Ray started, as this machine sees them."""

import psutil


def ray_processes(of: psutil.Process, title: str) -> list[psutil.Process]:
    """Return the processes below `of` with this in their title, oldest first."""
    found = []
    for process in of.children(recursive=True):
        try:
            if title in " ".join(process.cmdline()[:1]):
                found.append((process.create_time(), process.pid, process))
        except psutil.NoSuchProcess:
            # It ended meanwhile, or is a zombie.
            continue
    return [process for *_, process in sorted(found)]
