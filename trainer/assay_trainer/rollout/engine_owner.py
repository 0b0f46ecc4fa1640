"""Who starts and replaces the rollout engines of a stage.

Ray ends an actor with the process that made it. Learners that Ray Train starts anew must find the
engines that live, those that were replaced included; so the engines belong to a process that
outlives the learners: the stage's own where the only learner is in it, else an actor that belongs
to it.
"""

from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from assay_trainer.deadlines import OWNER_SECONDS
from assay_trainer.rollout.engine_actor import PoolConfig, RolloutEngine


class EngineOwner(Protocol):
    """Knows the engine at each place."""

    def engines(self) -> list[Any]:
        """Return the handles of the engines, by place."""
        ...

    def replace(self, index: int) -> Any:
        """End the engine at this place, whatever it does; return the handle of a new one."""
        ...

    def close(self) -> None:
        """End all engines."""
        ...


class LocalEngineOwner:
    """Owns the engines in this process."""

    def __init__(self, config: PoolConfig) -> None:
        """Start the engines; nobody waits for them here."""
        self._config = config
        self._actor = ray.remote(**engine_options(config))(RolloutEngine)
        self._engines = [self._actor.remote(config) for _ in range(config.num_engines)]

    def engines(self) -> list[Any]:
        """Return the handles of the engines, by place."""
        return list(self._engines)

    def replace(self, index: int) -> Any:
        """End the engine at this place, whatever it does; return the handle of a new one."""
        ray.kill(self._engines[index])
        self._engines[index] = self._actor.remote(self._config)
        return self._engines[index]

    def close(self) -> None:
        """End all engines."""
        for engine in self._engines:
            ray.kill(engine)


class RemoteEngineOwner:
    """The same in an actor beside this process, for learners in processes that come and go."""

    def __init__(self, config: PoolConfig) -> None:
        """Start the actor, which starts the engines."""
        # On this process's node: lost with any other one, it would take all engines along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=here)(LocalEngineOwner)
        self._owner = actor.remote(config)

    def engines(self) -> list[Any]:
        """Return the handles of the engines, by place."""
        engines: list[Any] = ray.get(self._owner.engines.remote(), timeout=OWNER_SECONDS)
        return engines

    def replace(self, index: int) -> Any:
        """End the engine at this place, whatever it does; return the handle of a new one."""
        return ray.get(self._owner.replace.remote(index), timeout=OWNER_SECONDS)

    def close(self) -> None:
        """End all engines, and the actor."""
        ray.get(self._owner.close.remote(), timeout=OWNER_SECONDS)
        ray.kill(self._owner)


def engine_options(config: PoolConfig) -> dict[str, Any]:
    """Return what Ray is told of each engine: what it needs, and where it belongs."""
    return {
        "num_cpus": 1,
        "num_gpus": config.num_gpus_per_engine,
        "resources": {config.resource: 1} if config.resource else None,
    }
