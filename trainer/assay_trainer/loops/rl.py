"""RL with DAPO: a step is collect -> learn -> sync -> validate -> record -> save.

Before the first step held-out answers are validated and the judges are probed.

Every learner process runs this loop. The one that leads also samples and scores, and tells the
others what to learn from; each learns from its share.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import fmean

from assay_trainer.answers.rule import AnswerRule
from assay_trainer.checkpoints import Position
from assay_trainer.loops.empty_steps import EmptySample, empty_sample, refuse_emptiness
from assay_trainer.loops.judge_probe import JudgeProbe
from assay_trainer.loops.mode_shares import ModeCounts, ModeWatch
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.policy_update import learn
from assay_trainer.loops.prompts import PromptStream
from assay_trainer.loops.recorder import Clock
from assay_trainer.loops.rollouts import Collector
from assay_trainer.loops.sampled_rounds import SampledRounds
from assay_trainer.loops.stopping import StopWatch
from assay_trainer.loops.validation import HELD_OUT, Validator
from assay_trainer.loops.weight_sync import WeightSync
from assay_trainer.records import ScoredGroup
from assay_trainer.rollout_log import write_rollouts

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step learns from."""

    step: int
    groups: tuple[ScoredGroup, ...]
    metrics: Mapping[str, float]
    counts: ModeCounts
    """Groups by thinking mode."""
    empty: EmptySample | None = None
    """What was sampled, where no group is usable."""


_NOTHING = Batch(step=0, groups=(), metrics={}, counts=ModeCounts())
"""What a learner process that does not lead says before it is told."""


@dataclass(frozen=True, slots=True)
class Leader:
    """What only the leading learner process has: the way to the samplers and the judges."""

    collector: Collector
    sync: WeightSync
    validator: Validator
    probe: JudgeProbe


class RlLoop:
    """The loop of one learner process."""

    def __init__(self, parts: StageParts, prompts: PromptStream, leader: Leader | None) -> None:
        """Prepare; `leader` is given on rank 0 only."""
        spec = parts.stage.spec
        assert spec.rl is not None
        self._parts, self._rl, self._leader = parts, spec.rl, leader
        self._prompts = prompts
        self._learner = parts.learner
        self._answers = AnswerRule.of(spec.answer)
        self._checkpoints = parts.checkpoints()
        self._every = spec.checkpoint.every
        self._recorder = parts.recorder()
        self._mode_watch = ModeWatch(spec.rl)
        self._stop_watch = StopWatch(parts.job, parts.store, parts.learner)
        self._clock = Clock()

    def run(self) -> bool:
        """Train from the newest checkpoint on to the stage's last step.

        Returns:
            Whether it came to the last step; if not, it was asked to stop, and has saved a
            checkpoint of the step that it came to.

        Raises:
            NothingToLearnError: too many steps in a row, or all of them, had no usable group.
        """
        with closing(self._recorder):
            return self._run()

    def _run(self) -> bool:
        position = self._checkpoints.resume()
        self._sync(position)
        probed = self._probe()
        if position.step == 0:
            self._recorder.record(0, probed | self._validate(position) | self._clock.read())
        stop = self._stop_watch.look()
        while position.step < self._rl.steps and not stop:
            position, batch = self._collect(position)
            learned = self._learn(batch)
            position = _counted(position, num_updates=int(learned.get("updates", 0)))
            synced = self._sync(position)
            validated = self._validate(position)
            empty = {"sampling/empty_steps": float(position.empty_steps)}
            self._record(batch, batch.metrics, empty, learned, synced, validated)
            if not learned:
                self._bear_emptiness(position, batch)
            stop = self._stop_watch.look()
            self._save(position, validated, now=bool(stop))
        refuse_emptiness(position, self._rl, None)
        return position.step == self._rl.steps

    def _collect(self, position: Position) -> tuple[Position, Batch]:
        """Sample and score groups until enough are neither all right nor all wrong."""
        self._recorder.say(position.step, "sampling")
        cursor, batch = self._learner.broadcast(
            self._fill(position) if self._leader is not None else (0, _NOTHING)
        )
        return replace(position, step=batch.step, cursor=cursor), batch

    def _fill(self, position: Position) -> tuple[int, Batch]:
        assert self._leader is not None
        rounds, cursor = SampledRounds(self._rl, position.step), position.cursor
        while asked := rounds.next_modes():
            prompts = self._prompts.draw(cursor, asked)
            rounds.add(self._leader.collector.collect(prompts, cursor, self._clock))
            cursor += len(asked)
        groups = rounds.batch()
        empty = None if groups else empty_sample(rounds.groups, rounds.acceptance(), self._answers)
        batch = Batch(position.step + 1, groups, rounds.metrics(), rounds.mode_counts(), empty)
        return cursor, batch

    def _learn(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step; without a usable group none is taken."""
        if not batch.groups:
            return {}
        self._recorder.say(batch.step - 1, "learning")
        with self._clock.phase("learn"):
            return learn(self._parts, self._rl, batch.groups)

    def _bear_emptiness(self, position: Position, batch: Batch) -> None:
        """Go on after a step without an optimiser step, if there were not too many of them.

        All ranks were told the same batch: they go on, or raise, together.
        """
        refuse_emptiness(position, self._rl, batch.empty)
        if self._leader is not None:
            _LOG.warning(
                "step %d found no usable group, so it took no optimiser step; %d in a row, "
                "the stage fails at %d (spec.rl.maxEmptySteps)",
                *(position.step, position.empty_steps, self._rl.max_empty_steps),
            )

    def _probe(self) -> dict[str, float]:
        """Try the judges on known good and bad reasoning; each attempt does, no state is kept."""
        if self._leader is None:
            return {}
        with self._clock.phase("probe"):
            return self._leader.probe.measure()

    def _sync(self, position: Position) -> dict[str, float]:
        """Give the samplers the learner's weights, and see that they compute the same."""
        if self._leader is None:
            return {}
        with self._clock.phase("sync"):
            difference = self._leader.sync.push(position.policy_version)
        return {"logprob/canary_difference": difference}

    def _validate(self, position: Position) -> dict[str, float]:
        """Answer held-out prompts where that is due."""
        due = position.step % self._rl.validation.every == 0 or position.step == self._rl.steps
        if self._leader is None or not due:
            return {}
        self._recorder.say(position.step, "validating")
        with self._clock.phase("validate"):
            return self._leader.validator.validate()

    def _save(self, position: Position, validated: Mapping[str, float], *, now: bool) -> None:
        """Publish a checkpoint where that is due, with its held-out accuracy if that is new."""
        if now or position.step % self._every == 0 or position.step == self._rl.steps:
            with self._clock.phase("checkpoint"):
                right = [v for name, v in validated.items() if name.startswith(HELD_OUT)]
                self._checkpoints.save(position, fmean(right) if right else None)

    def _record(self, batch: Batch, *metrics: Mapping[str, float]) -> None:
        """Keep the step's numbers and its rollouts."""
        if self._leader is None:
            return
        write_rollouts(self._parts.store, batch.step, batch.groups)
        self._mode_watch.see(batch.step, batch.counts)
        merged = {name: value for part in metrics for name, value in part.items()}
        self._recorder.record(batch.step, merged | self._clock.read())


def _counted(position: Position, *, num_updates: int) -> Position:
    """Return the position after the step's updates, or after the lack of one."""
    if not num_updates:
        return replace(position, empty_steps=position.empty_steps + 1)
    return replace(position, policy_version=position.policy_version + num_updates, empty_steps=0)
