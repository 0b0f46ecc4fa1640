"""How long the processes of an RL stage wait for each other, in one place.

What waits for something gives up later than that itself would, so that the error comes from where
the fault is. From the shortest to the longest::

    gradients of the other ranks          COLLECTIVE_SECONDS: nobody waits for an engine there
    an engine's start                     ENGINE_START_SECONDS
    one call of an engine                 ENGINE_CALL_SECONDS
    one call with its replacements        longest_call_seconds()
    what the leading learner says next    CONTROL_SECONDS

A process that dies is noticed in seconds, by Ray and by the connections to it; deadlines are for
what hangs. `docs/operations.md` has the same as a table.
"""

ENGINE_START_SECONDS = 900.0
"""Until a rollout engine has fetched and loaded its model."""
ENGINE_CALL_SECONDS = 1800.0
"""Until a rollout engine has answered one call: its share of a batch, or new weights."""
ENGINE_REPLACEMENTS = 3
"""Times that the engine at one place is replaced in one call."""
OWNER_SECONDS = 300.0
"""Until the actor that owns the engines has answered; it never waits for one."""

COLLECTIVE_SECONDS = 900.0
"""Until all ranks have come to a reduction of gradients, or to the writing of a checkpoint."""
CONTROL_SECONDS = 86_400.0
"""Until a rank is told by the leading one, which may be waiting for engines and judges."""

RAY_STARTS = 3
"""Times that Ray is started on one machine: it gives itself 30 seconds each time."""
NODES_SECONDS = 300.0
"""Until the nodes of a Ray cluster that is joined have brought the GPUs that are needed."""
LEARNERS_START_SECONDS = 600
"""Until Ray Train has started all learner processes."""
LEARNERS_START_FAILURES = 3
"""Times that Ray Train may fail to start them: a lost node may come back."""
LEARNER_FAILURES = 2
"""Times that Ray Train starts the learners anew; each resumes from the newest checkpoint."""

_CALLS_BETWEEN_MESSAGES = 4
"""A batch, the weights, the canary and the validation."""


def longest_call_seconds(
    call_seconds: float = ENGINE_CALL_SECONDS, start_seconds: float = ENGINE_START_SECONDS
) -> float:
    """Return how long a call takes when each engine hangs as often as it may.

    A new engine starts, gets the weights, and is asked again.

    Example:
        >>> longest_call_seconds(call_seconds=10, start_seconds=5)
        85
    """
    return call_seconds + ENGINE_REPLACEMENTS * (start_seconds + 2 * call_seconds)


assert COLLECTIVE_SECONDS < ENGINE_CALL_SECONDS
assert ENGINE_START_SECONDS < ENGINE_CALL_SECONDS < longest_call_seconds()
assert _CALLS_BETWEEN_MESSAGES * longest_call_seconds() < CONTROL_SECONDS
