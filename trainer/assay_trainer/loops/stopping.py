"""To stop before the end: on request, by a file in the store, or because a signal says so.

Whoever suspends a stage can't reach into its pods: they have no token, nobody may run commands in
them, and Ray's actors get no signals. What they can reach is the store, so the request lies there.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Protocol

from pydantic import ValidationError

from assay_api import ResolvedStageJob, StopRequest
from assay_api.errors import StoreError
from assay_api.layout import stop_file
from assay_data.store import Store

_LOG = logging.getLogger(__name__)

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
"""What a process ends with that stopped because of the signal: neither success nor its fault."""


class Stop(IntEnum):
    """Why to stop; where the ranks of a stage differ, the greatest counts."""

    NO = 0
    """Nobody asks for it."""
    SIGNALLED = 1
    """A rank's process is asked to end: its pod goes."""
    REQUESTED = 2
    """The operator asks this attempt to."""


class Ranks(Protocol):
    """The learner processes of a stage, as far as they must agree."""

    @property
    def rank(self) -> int:
        """This process's number."""
        ...

    def gather(self, value: Stop) -> list[Stop]:
        """Return the values of all ranks on every rank."""
        ...


class StopWatch:
    """Tells a loop whether to save and stop, to all ranks the same."""

    def __init__(self, job: ResolvedStageJob, store: Store, ranks: Ranks) -> None:
        """Look for the request to the job's attempt in the stage's folder."""
        self._job, self._store, self._ranks = job, store, ranks
        self._signalled = False

    def look(self) -> Stop:
        """Return whether to stop now. All ranks must ask together, and are told the same."""
        own = Stop.SIGNALLED if self._signalled else Stop.NO
        if self._ranks.rank == 0 and is_requested(self._job, self._store):
            own = Stop.REQUESTED
        return max(self._ranks.gather(own))

    @contextmanager
    def noting_sigterm(self) -> Iterator[None]:
        """Let SIGTERM end the step at hand, in place of the process, while in this block.

        Elsewhere than in a process's main thread nothing changes: only there can signals be caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._signalled = True


def is_requested(job: ResolvedStageJob, store: Store) -> bool:
    """Tell whether the operator asks the job's attempt to stop; a store that is away asks nothing.

    Args:
        job: the orders of the attempt.
        store: the stage's folder.
    """
    key = stop_file(job.attempt)
    try:
        if not store.exists(key):
            return False
        request = StopRequest.model_validate_json(store.read(key))
    except (StoreError, ValidationError) as error:
        _LOG.warning("not known whether to stop: %s/%s: %s", store.url, key, error)
        return False
    # The attempt of this number of a stage that was deleted may have left one.
    return request.uid == job.stage.metadata.uid
