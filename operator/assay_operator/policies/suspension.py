"""Suspension: a stage that is to rest saves a checkpoint first, if it can and in its time."""

from assay_api.layout import ResourceId
from assay_operator.conditions import Reason
from assay_operator.observed import Attempt, Observed

STOP_PATIENCE_SECONDS = 600.0
"""Time an attempt has to end its step, save a checkpoint and stop."""
STOPPED = "stopped"
"""How an attempt ended that had nothing to save, in words."""
STOPPED_TOO_LATE = f"did not stop within {STOP_PATIENCE_SECONDS:.0f} s and was deleted"
"""How an attempt ended that was waited for in vain, in words."""


def can_save(attempt: Attempt) -> bool:
    """Tell whether a live attempt can save and stop, or has been asked to already.

    What is held up has nothing to save; what makes no progress may just be slow.
    """
    if attempt.asked_to_stop or attempt.stopping_since_seconds is not None:
        return True
    held_up = attempt.stuck is not None and attempt.stuck.reason is not Reason.NO_PROGRESS
    return attempt.at_work and not held_up


def seconds_left(attempt: Attempt, now_seconds: float) -> float:
    """Return how long a live attempt that can save is still waited for."""
    since = attempt.stopping_since_seconds
    return STOP_PATIENCE_SECONDS - (0.0 if since is None else now_seconds - since)


def how_it_stopped(step: int, checkpoint: int | None) -> str:
    """Return how an attempt ended that was asked to save and stop, in words.

    Args:
        step: that it came to.
        checkpoint: step of the newest checkpoint in the store.

    Example:
        >>> how_it_stopped(13, 13)
        'saved a checkpoint of step 13 and stopped'
    """
    if checkpoint is not None and checkpoint >= step:
        return f"saved a checkpoint of step {checkpoint} and stopped"
    if step == 0:
        return "stopped before its first step"
    newest = "none" if checkpoint is None else f"step {checkpoint}"
    return f"stopped at step {step}, and its newest checkpoint is {newest}"


def how_it_rests(resource: ResourceId, observed: Observed) -> str:
    """Return why a suspended resource rests, and how its last attempt came to its end."""
    attempts = observed.attempts_of(resource)
    rests = "spec.suspend is true"
    if not attempts or not attempts[-1].stopped or not attempts[-1].message:
        return rests
    return f"{rests}; attempt {attempts[-1].number} {attempts[-1].message}"
