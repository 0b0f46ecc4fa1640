"""The command of each workload: the same programs that a container runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assay_api import ResolvedStageJob
from assay_operator.commands import (
    SERVER_ENV,
    dataset_arguments,
    evaluation_arguments,
    serve_arguments,
    train_arguments,
)
from assay_operator.decision import Role, Workload
from assay_operator.local.server import HOST
from assay_operator.observed import ServeOrders


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, without a shell."""

    argv: tuple[str, ...]
    """Program and arguments."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to this process's environment."""


def command_for(workload: Workload, orders: Path, *, on_gpu: bool = False) -> Command:
    """Return the command of a workload.

    Args:
        workload: what is to run; a server's port is settled.
        orders: the file that holds its orders.
        on_gpu: whether it has GPUs of its own.
    """
    file = str(orders)
    match workload.role:
        case Role.TRAIN | Role.COLLECT:
            collect_only = workload.role is Role.COLLECT
            launcher = (sys.executable,) if collect_only else _launcher(workload)
            return Command((*launcher, *train_arguments(file, collect_only=collect_only)))
        case Role.DATASET:
            return Command((sys.executable, *dataset_arguments(file)))
        case Role.EVALUATE:
            return Command((sys.executable, *evaluation_arguments(file)))
        case Role.SERVE:
            assert isinstance(workload.orders, ServeOrders)
            arguments = serve_arguments(
                workload.orders,
                host=HOST,
                port=workload.orders.port,
                on_gpu=on_gpu,
            )
            return Command((sys.executable, *arguments), SERVER_ENV)


def _launcher(workload: Workload) -> tuple[str, ...]:
    assert isinstance(workload.orders, ResolvedStageJob)
    spec = workload.orders.stage.spec
    learners = spec.placement.learners
    if spec.rl is not None or learners == 1:
        return (sys.executable,)
    return (
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", "--nproc-per-node", str(learners)),
    )
