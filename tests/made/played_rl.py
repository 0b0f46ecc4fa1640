"""The RL loop with played samplers and no engine: what is sampled, step by step, is given."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from made_prompts import asked
from played_engines import PlayedLearner

from assay_api import ResolvedStageJob, ThinkingMode
from assay_data.store import Store
from assay_trainer.checkpoints import Position
from assay_trainer.loops import rl
from assay_trainer.loops.recorder import Recorder
from assay_trainer.loops.rl import Leader, RlLoop
from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rewards.scoring import Scored

RIGHT, WRONG = "<think>hm</think><answer>B</answer>", "<think>hm</think><answer>A</answer>"


def group(*texts: str, prompt: str = "...") -> ScoredGroup:
    """Return a group about a fake clip, with the rewards format and accuracy."""
    rollouts = tuple(Rollout((1,), (-0.1,), text, False, 0) for text in texts)
    right = tuple(text == RIGHT for text in texts)
    mean = sum(right) / len(right)
    return ScoredGroup(
        group=RolloutGroup(asked("v1", "fake", ThinkingMode.THINK, prompt, "Q"), rollouts),
        terms={"Accuracy": tuple(map(float, right))},
        rewards=tuple(map(float, right)),
        correct=right,
        advantages=tuple(one - mean for one in right),
    )


class PlayedCheckpoints:
    """Remembers what was saved."""

    def __init__(self, start: Position) -> None:
        self.start = start
        self.saved: list[tuple[Position, float | None]] = []

    def resume(self) -> Position:
        return self.start

    def save(self, position: Position, score: float | None = None) -> None:
        self.saved.append((position, score))


class PlayedSamplers:
    """Collector, weight sync, validator and judge probe in one."""

    def __init__(self, sampled: Callable[[int], Sequence[ScoredGroup]]) -> None:
        self._sampled, self.num_sampled = sampled, 0

    def collect(self, prompts: Sequence[object], cursor: int, clock: object) -> Scored:
        self.num_sampled += 1
        return Scored(tuple(self._sampled(self.num_sampled)), (), ())

    def push(self, policy_version: int) -> float:
        return 0.0

    def validate(self) -> dict[str, float]:
        return {"accuracy/held_out_think": 0.75}

    def measure(self) -> dict[str, float]:
        return {"judge/probe_agreement": 0.5}


def played_job(**method: Any) -> ResolvedStageJob:
    """Return orders of an RL stage with one round of two prompts a step."""
    spec = {
        "model": {"uri": "m"},
        "dataset": "clips",
        "rl": {"promptsPerStep": 2, "maxSamplingRounds": 1, **method},
        "rewards": [{"type": "Accuracy"}],
        "checkpoint": {"every": 1},
    }
    stage = {"metadata": {"name": "alone", "uid": "u"}, "spec": spec}
    orders = {"stage": stage, "attempt": 1, "model": None, "dataset": "d", "output": "o"}
    return ResolvedStageJob.model_validate(orders)


def play(
    job: ResolvedStageJob,
    store: Store,
    checkpoints: PlayedCheckpoints,
    samplers: PlayedSamplers,
    learner: PlayedLearner,
) -> bool:
    """Run the loop of one rank, in which an update changes nothing."""
    parts: Any = SimpleNamespace(
        job=job,
        stage=job.stage,
        store=store,
        learner=learner,
        checkpoints=lambda: checkpoints,
    )
    leads = learner.rank == 0
    parts.recorder = lambda: Recorder(store, total_steps=job.stage.spec.total_steps, leads=leads)
    prompts: Any = SimpleNamespace(draw=lambda cursor, modes: [])
    fakes: Any = samplers
    leader = Leader(fakes, fakes, fakes, fakes) if leads else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl, "learn", lambda parts, method, groups: {"loss": 0.5, "updates": 1.0})
        return RlLoop(parts, prompts, leader).run()
