"""The command of each workload: the same programs that a container runs."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assay_api import ResolvedStageJob
from assay_operator.decision import Role, Workload
from assay_operator.observed import ServeOrders

_LEAST_IMAGES_PER_REQUEST = 16
_SERVER_ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, without a shell."""

    argv: tuple[str, ...]
    """Program and arguments."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to this process's environment."""


def command_for(workload: Workload, orders: Path) -> Command:
    """Return the command of a workload.

    Args:
        workload: what is to run; a server's port is settled.
        orders: the file that holds its orders.
    """
    assay = ("-m", "assay_trainer.cli.main")
    match workload.role:
        case Role.TRAIN | Role.COLLECT:
            return Command((*_launcher(workload), *assay, "train", "--stage", str(orders)))
        case Role.DATASET:
            return Command((sys.executable, *assay, "data", "build", str(orders)))
        case Role.EVALUATE:
            return Command((sys.executable, *assay, "eval", "--orders", str(orders)))
        case Role.SERVE:
            assert isinstance(workload.orders, ServeOrders)
            return Command((sys.executable, *assay, *_serve(workload.orders)), _SERVER_ENV)


def _launcher(workload: Workload) -> tuple[str, ...]:
    assert isinstance(workload.orders, ResolvedStageJob)
    spec = workload.orders.stage.spec
    learners = spec.placement.learners
    if spec.sft is None or learners == 1:
        return (sys.executable,)
    return (
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", "--nproc-per-node", str(learners)),
    )


def _serve(orders: ServeOrders) -> tuple[str, ...]:
    images = max(_LEAST_IMAGES_PER_REQUEST, orders.num_frames)
    return (
        *("serve", "--own-chat-template", "--model", orders.model, "--name", orders.name),
        *("--host", "127.0.0.1", "--port", str(orders.port)),
        *("--dtype", orders.precision.lower(), "--enforce-eager"),
        *("--max-model-len", str(orders.max_model_length_tokens)),
        *("--gpu-memory-utilization", "0.1"),
        *("--limit-mm-per-prompt", json.dumps({"image": images, "video": 1})),
    )
