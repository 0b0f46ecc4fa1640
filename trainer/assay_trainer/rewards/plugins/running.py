"""Calls of a plug-in, which may raise, answer nonsense, or never return.

They run in a daemon thread, one after another; coroutines run at the same time. Python can't end a
thread: one whose call does not return in time is left behind, it asks about no further rollout, and
the step goes on with failures in their place. A few left behind are borne; while `MAX_LEFT_BEHIND`
are still running nothing more is asked, and every group fails.
"""

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from assay_trainer.rewards.outcome import Failure, Outcome, Sample, Score
from assay_trainer.rewards.plugins.calls import Call, WrongAnswer, describe

_LOG = logging.getLogger(__name__)

MAX_IN_FLIGHT = 64
"""Coroutines of a plug-in that run at the same time."""
MAX_REASON = 500
"""Characters of what is told of a failure."""
MAX_LEFT_BEHIND = 4
"""Calls that may still be running when a plug-in is called again."""


class PluginFunction:
    """A plug-in as a reward of a whole step. Never raises; an error is never a number."""

    def __init__(self, who: str, call: Call, timeout_seconds: float, metric: str | None) -> None:
        """Call a function.

        Args:
            who: names it in failures.
            call: how it is called.
            timeout_seconds: for all rollouts of a step together.
            metric: a number that each score must have beside it; None: none.
        """
        self._who, self._call, self._metric = who, call, metric
        self._timeout_seconds = timeout_seconds
        self._left_behind: list[threading.Thread] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Outcome]:
        """Return what each rollout is worth; what has no score in time is a failure."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if len(self._left_behind) >= MAX_LEFT_BEHIND:
            reason = f"{self._who}: {MAX_LEFT_BEHIND} earlier calls have not returned"
            _LOG.error("plug-in is not called: %s", reason)
            return [Failure(reason)] * len(samples)
        step = _Step(self._who, self._call, self._metric, samples, self._timeout_seconds)
        thread = threading.Thread(target=step.run, name=f"reward {self._who}", daemon=True)
        thread.start()
        thread.join(self._timeout_seconds)
        outcomes = step.settle()
        if thread.is_alive():
            self._left_behind.append(thread)
        failed = [one.reason for one in outcomes if isinstance(one, Failure)]
        if failed:
            _LOG.error("plug-in failed: rollouts=%d first=%s", len(failed), failed[0])
        return outcomes


class _Step:
    """The rollouts of one step, filled in by a thread that nobody may be waiting for any more."""

    def __init__(
        self,
        who: str,
        call: Call,
        metric: str | None,
        samples: Sequence[Sample],
        timeout_seconds: float,
    ) -> None:
        self._who, self._call, self._metric, self._samples = who, call, metric, tuple(samples)
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._outcomes: list[Outcome | None] = [None] * len(samples)
        self._settled = threading.Event()

    def settle(self) -> list[Outcome]:
        """Return all outcomes; what is filled in later is not seen."""
        self._settled.set()
        late = f"no score within {self._timeout_seconds:g} s for all rollouts of the step"
        return [
            self._failure(place, late) if one is None else one
            for place, one in enumerate(list(self._outcomes))
        ]

    def run(self) -> None:
        """Ask about all rollouts, until it is settled."""
        if self._call.of_step:
            self._fill_all(self._guarded(list(self._samples)))
            return
        waiting: list[tuple[int, Any]] = []
        for place, sample in enumerate(self._samples):
            if self._settled.is_set():
                break
            answer = self._guarded(sample)
            if inspect.isawaitable(answer):
                waiting.append((place, answer))
            else:
                self._fill(place, answer)
        if waiting:
            asyncio.run(self._await_each(waiting))

    def _guarded(self, asked: Any) -> Any:
        """Return what the function answers, or the exception that it raised."""
        try:
            answer = self._call.ask(asked)
            if self._call.of_step and inspect.isawaitable(answer):
                return asyncio.run(self._in_time(answer))
            return answer
        except (Exception, SystemExit) as error:  # The user's code: a boundary of rollouts.
            return error

    async def _in_time(self, answer: Any) -> Any:
        return await asyncio.wait_for(answer, max(self._deadline - time.monotonic(), 0.0))

    async def _await_each(self, waiting: Sequence[tuple[int, Any]]) -> None:
        room = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def one(place: int, answer: Any) -> None:
            async with room:
                try:
                    self._fill(place, await answer)
                except (Exception, SystemExit) as error:
                    self._fill(place, error)

        tasks = [asyncio.create_task(one(place, answer)) for place, answer in waiting]
        left = max(self._deadline - time.monotonic(), 0.0)
        _, late = await asyncio.wait(tasks, timeout=left)
        for task in late:
            task.cancel()

    def _fill_all(self, answer: Any) -> None:
        """Fill in the answers to a whole step, of which there must be one for each rollout."""
        count = len(self._samples)
        if not isinstance(answer, BaseException):
            try:
                answers = list(answer)
                if not isinstance(answer, dict | str) and len(answers) == count:
                    for place, one in enumerate(answers):
                        self._fill(place, one)
                    return
                found = f"a {type(answer).__name__} of {len(answers)}"
            except Exception as error:
                found = f"a {type(answer).__name__} ({error})"
            answer = WrongAnswer(f"returned {found}, must be a list of {count}, one a rollout")
        for place in range(count):
            self._fill(place, answer)

    def _fill(self, place: int, answer: Any) -> None:
        try:
            outcome = self._call.read(_raised(answer))
            if isinstance(outcome, Failure):
                outcome = self._failure(place, outcome.reason)
            if isinstance(outcome, Score) and self._metric not in {None, *outcome.metrics}:
                outcome = self._failure(
                    place, f"has no number {self._metric!r}, which rightAnswers asks for"
                )
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, WrongAnswer) else f"{type(error).__name__}: "
            outcome = self._failure(place, f"{kind}{error}"[:MAX_REASON])
        self._outcomes[place] = outcome

    def _failure(self, place: int, reason: str) -> Failure:
        return Failure(f"{self._who}: {describe(self._samples[place])}: {reason}")


def _raised(answer: Any) -> Any:
    """Return an answer; raise it if it is an exception."""
    if isinstance(answer, BaseException):
        raise answer
    return answer
