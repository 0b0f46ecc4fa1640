"""The errors of Assay: what the user wrote, and what the world did.

    ValueError
      InvalidInput        a manifest, flag, folder or file of the user is wrong: exit code 2
    Exception
      AssayError          something outside failed: exit code 1
        StoreError        the object store: full, unreachable, damaged, held by another run
        WorkloadError     a training stage, server or evaluation ended without its result
        EngineError       vLLM, DeepSpeed or Ray did not do what was asked in time
          EngineLostError a process of theirs died, again and again or without a trace
        NothingToLearnError  a stage finds nothing in its model's answers to learn from
        JudgeError        the reward model is down, slow, or answers nonsense

They are raised where the cause is known and become an exit code in one place, the command line.
"""

UNAVAILABLE_EXIT_CODE = 75
"""Of a container that had to end because what it stands on was away: store, judge, an engine.

Another attempt may find them.

`EX_TEMPFAIL` of sysexits.h.
"""


class InvalidInput(ValueError):
    """The user's input is wrong; nothing was changed.

    The message names the file, the field, the value, what is allowed, and what to do.
    """


class AssayError(Exception):
    """Something outside the program failed; the message says what was kept and how to go on."""


class StoreError(AssayError):
    """The object store is full, unreachable, damaged, or held by another run."""


class WorkloadError(AssayError):
    """A workload (stage, dataset, server, evaluation) ended without its result."""


class EngineError(AssayError):
    """An engine (vLLM, DeepSpeed, Ray) failed, or did not answer within its deadline."""


class EngineLostError(EngineError):
    """A process of an engine died and could not be had back: nobody's error that is known."""


class NothingToLearnError(AssayError):
    """A stage finds nothing in its model's answers to learn from, and would not another time.

    The message shows answers and says what to change.
    """


class JudgeError(AssayError):
    """The reward model could not be asked: it is down, too slow, or answers nonsense."""
