"""Ray: joined where it runs, started where it does not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from assay_api.log_lines import FORMAT_VARIABLE
from assay_trainer.quiet import NO_BARS_ENV, QUIET_ENV


def is_remote() -> bool:
    """Tell whether there is a cluster to join."""
    return "RAY_ADDRESS" in os.environ


def group_resource(name: str) -> str | None:
    """Return the resource by which processes find their group of nodes; None: there are no groups.

    A RayJob's worker groups `learners` and `rollouts` have `learner` and `rollout`, one for each
    process that is to run there.
    """
    return name if ray.cluster_resources().get(name) else None


@contextmanager
def ray_cluster(num_workers: int) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one in processes of this machine."""
    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else {"num_cpus": num_workers, "include_dashboard": False}
    ray.init(
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


def _worker_environment() -> dict[str, Any]:
    own = {
        # Ray would give each worker one thread; the workers choose their number themselves.
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "RAY_TRAIN_V2_ENABLED": "1",
        # A minute, as it is by default, is short where every core is busy with starting.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
        # It looks for notices of clouds' own, and every start of it is told as an error.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    }
    told = {name: os.environ[name] for name in (FORMAT_VARIABLE,) if name in os.environ}
    return {"env_vars": {**QUIET_ENV, **NO_BARS_ENV, **own, **told}}
