"""Ray: joined where it runs, started where it does not.

Each process that uses a GPU gets one of its own from Ray, the learners as well as the engines. A
cluster that is started here has the GPUs that this process sees, so `CUDA_VISIBLE_DEVICES` limits
all of them.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from assay_api import EngineLostError, InvalidInput
from assay_api.log_lines import FORMAT_VARIABLE
from assay_api.running import Placement
from assay_trainer.deadlines import LEARNERS_START_SECONDS, NODES_SECONDS, RAY_STARTS
from assay_trainer.quiet import NO_BARS_ENV, QUIET_ENV

_LOG = logging.getLogger(__name__)

_TOO_SLOW = "timed out during startup"
"""Words of Ray's error when its node has not registered in time."""


def is_remote() -> bool:
    """Tell whether there is a cluster to join."""
    return "RAY_ADDRESS" in os.environ


def group_resource(name: str) -> str | None:
    """Return the resource by which processes find their group of nodes; None: there are no groups.

    A RayJob's worker groups `learners` and `rollouts` have `learner` and `rollout`, one for each
    process that is to run there.
    """
    return name if ray.cluster_resources().get(name) else None


def num_gpus() -> int:
    """Return the number of GPUs of the cluster; 0: its processes compute on CPUs."""
    return int(ray.cluster_resources().get("GPU", 0))


def check_gpus(placement: Placement, *, learners: int) -> None:
    """See that there is a GPU for each process that uses one, before anything is loaded.

    Nodes of a cluster that is joined may still be on their way, and are waited for.

    Args:
        placement: what the stage asks for.
        learners: learner processes that run beside the engines.

    Raises:
        InvalidInput: the stage asks for more GPUs than there are.
        EngineLostError: nodes that were made for the stage did not come.
    """
    rollouts, each = placement.rollouts, placement.gpus_per_rollout
    needed, deadline = learners + rollouts * each, time.monotonic() + NODES_SECONDS
    while is_remote() and 0 < num_gpus() < needed and time.monotonic() < deadline:
        time.sleep(1)
    if num_gpus() == 0 or num_gpus() >= needed:
        return
    message = (
        f"spec.placement: the stage needs {needed} GPUs at once (learners: {learners}, rollouts: "
        f"{rollouts}, each of gpusPerRollout: {each}), and Ray has {num_gpus()}"
    )
    if group_resource("rollout") or group_resource("learner"):
        raise EngineLostError(f"{message}: nodes of its own are missing")
    raise InvalidInput(f"{message}: use fewer processes, or a machine with more GPUs")


@contextmanager
def ray_cluster(num_workers: int) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one in processes of this machine.

    Raises:
        EngineLostError: Ray's processes did not start in time, several times.
    """
    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else _own_resources(num_workers)
    _start(
        address=address or "local",
        logging_level="ERROR",
        # Ray Train's own helpers warn every second that there is no dashboard. With a configuration
        # of its own a job's lines come here as they were written, without the process's number.
        logging_config=ray.LoggingConfig(log_level="ERROR"),
        runtime_env=_worker_environment(),
        **local,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _start(**options: Any) -> None:
    """Call `ray.init`, again where a busy machine did not start Ray within Ray's own 30 seconds."""
    for tries_left in reversed(range(RAY_STARTS)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray has no class of its own for this.
            if _TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            if not tries_left:
                raise EngineLostError(
                    f"Ray did not start on this machine, {RAY_STARTS} times: {error} Look at the "
                    "machine's load and free memory; the checkpoints are kept"
                ) from error
            _LOG.warning("Ray did not start in time, retrying: %s", error)


def _own_resources(num_workers: int) -> dict[str, Any]:
    import torch

    # What torch can use, not what Ray finds: of a GPU with too old a driver Ray would give shares.
    gpus = torch.cuda.device_count()
    return {"num_cpus": num_workers, "num_gpus": gpus, "include_dashboard": False}


def _worker_environment() -> dict[str, Any]:
    own = {
        # Ray would give each worker one thread; the workers choose their number themselves.
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "RAY_TRAIN_V2_ENABLED": "1",
        # A minute, as it is by default, is short where every core is busy with starting.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(LEARNERS_START_SECONDS),
        # It looks for notices of clouds' own, and every start of it is told as an error.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    }
    told = {name: os.environ[name] for name in (FORMAT_VARIABLE,) if name in os.environ}
    return {"env_vars": {**QUIET_ENV, **NO_BARS_ENV, **own, **told}}
