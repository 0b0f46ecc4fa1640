"""The one-node cluster by its two commands, also killed: this machine is afterwards as it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from node_clearup import leftovers
from node_network import KEPT, run
from node_settings import absent_folders
from one_node_cluster import OneNodeCluster

COMMAND = [sys.executable, str(Path(__file__).with_name("cluster_command.py"))]
START_SECONDS = 180


def machine() -> dict[str, object]:
    """Return what a cluster changes on this machine."""
    saved = [run(f"{program}-save") for program in ("iptables", "ip6tables")]
    rules = [x for text in saved for x in text.splitlines() if not x.startswith(("#", ":"))]
    return {
        "links": sorted(os.listdir("/sys/class/net")),
        "rules": sorted(set(rules)),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "kernel": {name: Path("/proc/sys", name).read_text() for name in KEPT},
        "absent": absent_folders(),
    }


def test_a_killed_cluster_is_cleared_up_without_a_trace(tmp_path: Path) -> None:
    # Whoever starts one removes what a killed run has left before.
    with OneNodeCluster(shows_host=True):
        pass
    before = machine()
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        serving = subprocess.Popen([*COMMAND, "serve"], stdout=out, stderr=out)
    deadline = time.monotonic() + START_SECONDS
    # With pods that run.
    while "Assay is installed" not in log.read_text() and serving.poll() is None:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert serving.poll() is None, log.read_text()
    with pytest.raises(RuntimeError, match="runs on this machine already"):
        OneNodeCluster(shows_host=True).start()
    serving.send_signal(signal.SIGKILL)
    serving.wait()
    # Its pods live on, and so do mounts and rules.
    found = "\n".join(leftovers())
    assert all(what in found for what in ("process", "mount", "network link", "KUBE-", "group"))
    told = subprocess.run([*COMMAND, "down"], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert leftovers() == []
    assert machine() == before
