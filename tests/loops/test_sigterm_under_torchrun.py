"""SIGTERM as a pod gets it: torchrun passes it on, the ranks end the same step, and who looks at
the pod afterwards sees that it was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from assay_api import ResolvedStageJob
from assay_operator.policies.evidence import evidence_of

DEADLINE_SECONDS = 120
ORDERS = {
    "stage": {
        "metadata": {"name": "alone"},
        "spec": {"model": {"uri": "m"}, "dataset": "clips", "sft": {"task": "Judge", "steps": 4}},
    },
    "attempt": 1,
    "model": None,
    "dataset": "d",
    "output": "o",
}


def test_all_ranks_end_the_same_step_when_torchrun_is_asked_to_end(tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    orders.write_text(ResolvedStageJob.model_validate(ORDERS).model_dump_json(by_alias=True))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    rank = [str(Path(__file__).with_name("stopping_rank.py")), str(orders), str(tmp_path)]
    with subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", *rank],
        env={**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "110"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        running = [tmp_path / f"running-{number}" for number in (0, 1)]
        while not all(path.exists() for path in running) and time.monotonic() < deadline:
            time.sleep(0.02)
        # To the launcher alone, as to the first process of a pod.
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=DEADLINE_SECONDS)[0]
    steps = [(tmp_path / f"stopped-{number}").read_text() for number in (0, 1)]
    assert steps[0] == steps[1] and int(steps[0]) > 0, log
    # The kubelet keeps the end of the log as the pod's last words.
    ended = {"exitCode": process.returncode, "message": log[-2048:], "finishedAt": "9"}
    pod = {
        "metadata": {"name": "p"},
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]},
    }
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    found = evidence_of({"kind": "PyTorchJob", "metadata": {}, "status": failed}, [pod])
    assert (found.ended, found.failure, found.exit_code) == (True, "infrastructure", -15), log
