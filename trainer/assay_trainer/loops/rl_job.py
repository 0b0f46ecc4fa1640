"""An RL stage on Ray: rollout engines in actors, learner processes by Ray Train.

With `RAY_ADDRESS` set (as in a RayJob) the cluster is joined; without, one is started in
processes of this machine and ended afterwards.
"""

import tempfile
from collections.abc import Mapping
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from assay_api import (
    AssayError,
    EngineError,
    InvalidInput,
    JudgeError,
    ResolvedStageJob,
    StoreError,
)
from assay_trainer.loops.engines import start_pool
from assay_trainer.loops.ray_cluster import ray_cluster

_MAX_LEARNER_FAILURES = 2
"""Times that Ray Train starts the learners anew; each goes on from the newest checkpoint."""
_KNOWN_ERRORS: Mapping[str, type[Exception]] = {
    kind.__name__: kind for kind in (InvalidInput, EngineError, JudgeError, StoreError)
}


def run_rl(job: ResolvedStageJob) -> None:
    """Run the stage to its end; what the learners raise is raised here.

    Raises:
        InvalidInput: model or dataset are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    spec, placement = job.stage.spec, job.stage.spec.placement
    assert spec.rl is not None
    with (
        ray_cluster(placement.learners + placement.rollouts + 1),
        tempfile.TemporaryDirectory(prefix="assay-ray-train-") as scratch,
    ):
        pool = start_pool(job, max_completion_tokens=spec.rl.max_completion_tokens, lora=spec.lora)
        on_gpu = ray.cluster_resources().get("GPU", 0) > 0
        trainer = TorchTrainer(
            _learner,
            train_loop_config={"job": job.model_dump_json(by_alias=True), "pool": pool},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=placement.learners, use_gpu=on_gpu),
            run_config=RunConfig(
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=_MAX_LEARNER_FAILURES),
            ),
        )
        try:
            failure = trainer.fit().return_value
        except WorkerGroupError as error:
            raise _known(error) from error
        except TrainingFailedError as error:
            raise EngineError(f"Ray Train gave up: {error}; the checkpoints are kept") from error
    if failure is not None:
        raise _KNOWN_ERRORS.get(failure[0], AssayError)(failure[1])


def _known(error: WorkerGroupError) -> Exception:
    for failure in error.worker_failures.values():
        cause = failure.__cause__ or failure
        if isinstance(cause, (InvalidInput, AssayError)):
            return cause
    return EngineError(f"a learner process failed: {error}; the checkpoints are kept")


def _learner(config: dict[str, Any]) -> tuple[str, str] | None:
    # Only the learners load torch's and DeepSpeed's half of the trainer.
    from assay_trainer.loops.rl_learner import run_learner

    return run_learner(config)
