"""Retries: what a failed attempt says, and whether another one is worth it."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay_api.errors import UNAVAILABLE_EXIT_CODE
from assay_api.running import Retry
from assay_operator.observed import Attempt, FailureClass

LONGEST_PAUSE_SECONDS = 60.0

INVALID_INPUT_EXIT_CODE = 2
SIGTERM_EXIT_CODE = 128 + 15
"""Of a program that ended because it was asked to by the signal, after it had tidied up."""
NOT_ITS_FAULT = (SIGTERM_EXIT_CODE, UNAVAILABLE_EXIT_CODE)
"""Of a program that another attempt may bring further."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the failed attempts of a resource add up to."""

    failure_class: FailureClass
    """Class of the newest failure."""
    count: int
    """Failures of that class so far."""
    budget: int
    """Failures of that class that are worth a new attempt."""
    attempt: Attempt
    """The newest failure."""

    @property
    def final(self) -> bool:
        """Whether no further attempt is made."""
        return self.count > self.budget

    @property
    def text(self) -> str:
        """What happened, for people."""
        how = f"attempt {self.attempt.number} {self._how}{self._where}"
        if self.failure_class is FailureClass.INPUT:
            return f"{how}: its input is wrong; see the log, mend that, run again"
        return f"{how} ({self.failure_class} failure {self.count}; {self.budget} are tried again)"

    @property
    def _where(self) -> str:
        return f" at step {self.attempt.step}" if self.attempt.step else ""

    @property
    def _how(self) -> str:
        if self.attempt.message:
            return self.attempt.message
        ended = self.attempt.ended_seconds
        if ended is not None and self.attempt.is_late(ended):
            return "was not ready within spec.startTimeoutSeconds"
        return describe_exit(self.attempt.exit_code)


def describe_exit(exit_code: int | None) -> str:
    """Return an exit code in words.

    Example:
        >>> describe_exit(-9)
        'was killed by SIGKILL'
        >>> describe_exit(0)
        'ended without its completion.json'
    """
    if exit_code is None:
        return "vanished"
    if exit_code == 0:
        return "ended without its completion.json"
    if exit_code == SIGTERM_EXIT_CODE:
        return "ended on SIGTERM"
    if exit_code == UNAVAILABLE_EXIT_CODE:
        return "ended because the store, a judge or an engine was away for too long"
    if exit_code > 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


def classify(exit_code: int | None, served: bool = False) -> FailureClass:
    """Return whose fault it is that a process on one machine ended so.

    Args:
        exit_code: negative for the signal that killed it; None when it is not known.
        served: whether it was a server that had been ready: its death is never the user's fault.
    """
    if served or exit_code is None or exit_code < 0 or exit_code in NOT_ITS_FAULT:
        return FailureClass.INFRASTRUCTURE
    if exit_code == INVALID_INPUT_EXIT_CODE:
        return FailureClass.INPUT
    return FailureClass.APPLICATION


def current_failure(
    attempts: Sequence[Attempt], retry: Retry, forgotten: Mapping[FailureClass, int] | None = None
) -> Failure | None:
    """Return what the failures add up to; None when the last attempt did not fail.

    Args:
        attempts: ended without a completion or live, oldest first; stopped ones don't count.
        retry: the budgets.
        forgotten: failures before those attempts, by class.
    """
    classes = failure_classes(attempts)
    if not classes or classes[-1] is None:
        return None
    newest = classes[-1]
    budgets = {
        FailureClass.PREEMPTION: retry.preemption,
        FailureClass.INFRASTRUCTURE: retry.infrastructure,
        FailureClass.APPLICATION: retry.application,
        FailureClass.INPUT: 0,
    }
    count = classes.count(newest) + (forgotten or {}).get(newest, 0)
    return Failure(newest, count, budgets[newest], attempts[-1])


def failure_classes(attempts: Sequence[Attempt]) -> list[FailureClass | None]:
    """Return whose fault the end of each attempt is; None for those that did not fail.

    An infrastructure failure at the same step as the failure before it counts as the
    application's: what happens twice at one place is no accident.
    """
    classes: list[FailureClass | None] = []
    before: Attempt | None = None
    for attempt in attempts:
        found = _classify_attempt(attempt) if _is_failure(attempt) else None
        repeated = before is not None and before.step == attempt.step > 0
        if found is FailureClass.INFRASTRUCTURE and repeated:
            found = FailureClass.APPLICATION
        classes.append(found)
        before = attempt if found is not None else before
    return classes


def _is_failure(attempt: Attempt) -> bool:
    ended = attempt.ended_seconds
    return ended is not None and (not attempt.stopped or attempt.is_late(ended))


def _classify_attempt(attempt: Attempt) -> FailureClass:
    if attempt.failure is not None:
        return attempt.failure
    if attempt.ended_seconds is not None and attempt.is_late(attempt.ended_seconds):
        return FailureClass.APPLICATION
    return classify(attempt.exit_code, served=attempt.url is not None)


def pause_seconds(failure: Failure, now_seconds: float) -> float:
    """Return how long to wait before the next attempt: 1, 2, 4... seconds after the failure."""
    ended = failure.attempt.ended_seconds
    assert ended is not None, "a failed attempt has ended"
    pause = min(2.0 ** (failure.count - 1), LONGEST_PAUSE_SECONDS)
    return max(0.0, ended + pause - now_seconds)
