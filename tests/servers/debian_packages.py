"""Programs that tests run, from Debian's packages: installed where they are missing."""

import os
import shutil
import subprocess
from collections.abc import Mapping

_INSTALL_SECONDS = 600


def need_programs(packages: Mapping[str, str], what_for: str) -> None:
    """Install programs that are missing.

    Args:
        packages: package by program.
        what_for: what can't be done without them and without root, for the error.

    Raises:
        RuntimeError: this machine can't have them; the message says what to do.
    """
    missing = sorted({package for name, package in packages.items() if not shutil.which(name)})
    if not missing and os.geteuid() == 0:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(
            f"{what_for} needs root and the programs {', '.join(packages)}: run it as root on "
            f"Debian or Ubuntu (missing packages: {', '.join(missing) or 'none'})"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quietly = ("--yes", "--quiet", "--no-install-recommends")
    for arguments in (("update", "--quiet"), ("install", *quietly, *missing)):
        done = subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
        if done.returncode:
            told = (done.stdout + done.stderr)[-2000:]
            raise RuntimeError(f"apt-get {' '.join(arguments)}: exit {done.returncode}\n{told}")
