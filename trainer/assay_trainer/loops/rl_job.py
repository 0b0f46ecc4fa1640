"""An RL stage on Ray: rollout engines in actors, learners beside them.

With `RAY_ADDRESS` set (as in a RayJob) the cluster is joined; without, one is started in
processes of this machine and ended afterwards. A lone learner on the CPU of one machine is this
process; several, those of a cluster, and those that use a GPU are started by Ray Train, which gives
each its GPU and starts them anew when one dies. The engines outlive them.
"""

import logging
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.exceptions import RayError, RayTaskError

from assay_api import (
    AssayError,
    EngineError,
    EngineLostError,
    InvalidInput,
    NothingToLearnError,
    ResolvedStageJob,
)
from assay_trainer.deadlines import (
    COLLECTIVE_SECONDS,
    LEARNER_FAILURES,
    LEARNERS_START_FAILURES,
)
from assay_trainer.loops.engines import pool_config
from assay_trainer.loops.ray_cluster import (
    check_gpus,
    group_resource,
    is_remote,
    num_gpus,
    ray_cluster,
)
from assay_trainer.process import ProcessName, set_up_process
from assay_trainer.rewards.registry import check_plugins
from assay_trainer.rollout.engine_owner import LocalEngineOwner, RemoteEngineOwner
from assay_trainer.rollout.pool import RolloutPool

_LOG = logging.getLogger(__name__)


def run_rl(job: ResolvedStageJob) -> bool:
    """Run the stage to its end; what the learners raise is raised here.

    Returns:
        Whether it came to its end; if not, it was asked to stop, and a checkpoint is saved.

    Raises:
        InvalidInput: model or dataset are not what the stage needs.
        AssayError: an engine, a judge or the store failed; checkpoints are kept.
    """
    spec, placement = job.stage.spec, job.stage.spec.placement
    assert spec.rl is not None
    check_plugins(spec.rewards)
    _LOG.info("starts %d rollouts and %d learners", placement.rollouts, placement.learners)
    with ray_cluster(placement.learners + placement.rollouts + 1):
        check_gpus(placement, learners=placement.learners)
        config = pool_config(
            job, max_completion_tokens=spec.rl.max_completion_tokens, lora=spec.lora
        )
        if placement.learners == 1 and not is_remote() and not num_gpus():
            open_pool = partial(RolloutPool, config, LocalEngineOwner(config))
            from assay_trainer.loops.rl_learner import run_learner

            return run_learner(job, open_pool, threads=os.cpu_count() or 1)
        return _run_learners(job, partial(RolloutPool, config, RemoteEngineOwner(config)))


def _run_learners(job: ResolvedStageJob, open_pool: Callable[[], RolloutPool]) -> bool:
    """Run the learners by Ray Train, which starts them all anew when one dies.

    `open_pool` finds the engines that live then.
    """
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    with tempfile.TemporaryDirectory(prefix="assay-ray-train-") as scratch:
        trainer = TorchTrainer(
            _learner,
            train_loop_config={
                "job": job.model_dump_json(by_alias=True),
                "open_pool": open_pool,
            },
            torch_config=TorchConfig(
                backend="nccl" if num_gpus() else "gloo", timeout_s=int(COLLECTIVE_SECONDS)
            ),
            scaling_config=ScalingConfig(**learner_resources(job.stage.spec.placement.learners)),
            run_config=RunConfig(
                storage_path=scratch,
                logging_config=LoggingConfig(log_level="ERROR"),
                failure_config=FailureConfig(
                    max_failures=LEARNER_FAILURES,
                    controller_failure_limit=LEARNERS_START_FAILURES,
                ),
            ),
        )
        try:
            finished = trainer.fit().return_value
        except WorkerGroupError as error:
            raise _known(error.worker_failures.values(), error) from error
        except TrainingFailedError as error:
            raise EngineLostError(
                f"Ray Train gave up: {error}; the checkpoints are kept"
            ) from error
    if isinstance(finished, str):
        raise NothingToLearnError(finished)
    if not isinstance(finished, bool):
        raise EngineError(
            f"Ray Train ended without the learners' word: {finished!r}; the checkpoints are kept"
        )
    return finished


def learner_resources(learners: int) -> dict[str, Any]:
    """Return what Ray Train is told of the learners: how many, with a GPU each where there are."""
    on_gpu, place = num_gpus() > 0, group_resource("learner")
    return {
        "num_workers": learners,
        "use_gpu": on_gpu,
        "resources_per_worker": {"CPU": 1, "GPU": int(on_gpu), place: 1} if place else None,
    }


def _learner(config: dict[str, Any]) -> bool | str:
    """Run one of the processes that Ray Train started; return what there was nothing to learn from.

    That is not raised: Ray Train would start the learners anew, to come to the same end.
    """
    import ray.train

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    job = ResolvedStageJob.model_validate_json(config["job"])
    name = job.stage.metadata.name
    set_up_process(ProcessName("stage", name, "learner", job.attempt, rank, world_size))

    from assay_trainer.device import require_device
    from assay_trainer.loops.rl_learner import run_learner

    require_device(job.stage.spec.placement.precision)
    threads = max(1, (os.cpu_count() or 1) // context.get_local_world_size())
    try:
        return run_learner(job, config["open_pool"] if rank == 0 else None, threads=threads)
    except NothingToLearnError as error:
        return str(error)


def _known(failures: Any, error: Exception) -> Exception:
    """Return the learners' own error where one of them knew what was wrong."""
    causes = [cause for failure in failures for cause in (failure, failure.__cause__)]
    for cause in causes:
        if isinstance(cause, (InvalidInput, AssayError)):
            return cause
    # Ray's own errors tell of processes and nodes that are gone, not of what they did.
    lost = any(isinstance(c, RayError) and not isinstance(c, RayTaskError) for c in causes)
    kind = EngineLostError if lost else EngineError
    return kind(f"a learner process failed: {error}; the checkpoints are kept")
