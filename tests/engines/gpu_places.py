"""An RL stage on GPUs that are only played: its processes write down which they were given."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch

from assay_api import InvalidInput, ResolvedStageJob
from assay_trainer.loops import rl_job
from assay_trainer.rollout.engine_actor import PoolConfig
from assay_trainer.rollout.engine_owner import engine_options

GPUS = 2


def write_down(folder: str, who: str) -> None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    Path(folder, f"{who}-{os.getpid()}").write_text(
        f"{who} {' '.join(map(str, ray.get_gpu_ids()))} {visible}"
    )


class Engine:
    """In the place of a rollout engine."""

    def __init__(self, folder: str) -> None:
        write_down(folder, "engine")


class Engines:
    """In the place of the engines' owner; Ray is told the same of each engine."""

    def __init__(self, config: PoolConfig) -> None:
        self.actors = [
            ray.remote(**engine_options(config))(Engine).remote(str(NOTES))
            for _ in range(config.num_engines)
        ]


def learn(config: dict[str, Any], *, folder: str) -> bool:
    write_down(folder, "learner")
    # Together with the engines, so that no process gets what another one has given back.
    deadline = time.monotonic() + 60
    while len(list(Path(folder).iterdir())) < GPUS and time.monotonic() < deadline:
        time.sleep(0.1)
    return True


NOTES = Path(sys.argv[2])
torch.cuda.device_count = lambda: GPUS
ray.train.torch.TorchConfig = lambda **_: TorchConfig(backend="gloo")  # type: ignore[assignment]
TorchConfig = type(ray.train.torch.config.TorchConfig())
rl_job.RemoteEngineOwner = Engines  # type: ignore[assignment, misc]
rl_job.RolloutPool = lambda config, owner: owner  # type: ignore[assignment, misc]
rl_job._learner = partial(learn, folder=str(NOTES))  # type: ignore[assignment]
try:
    rl_job.run_rl(ResolvedStageJob.model_validate_json(Path(sys.argv[1]).read_text()))
except InvalidInput as error:
    print(error)
    raise SystemExit(2) from None
