r"""MATH and AIME: equal as mathematics, by math-verify.

math-verify computes with sympy, which may take for ever or all memory on what a model writes
(`9^{9^{9^9}}`), and its own timeouts work in the main thread only. So it runs in a process of its
own with a deadline and a limit of memory; what it can't compare is not equal, and is told.
"""

import atexit
import logging
import threading
from functools import lru_cache

from assay_data.video.isolation import Failure, IsolatedPool

_LOG = logging.getLogger(__name__)

DEADLINE_SECONDS = 5.0
"""Of one comparison; nearly all take some hundredths."""
_SHOWN = 80
"""Characters of an answer that a message shows."""


def math_equal(answer: str, truth: str) -> float:
    r"""Return 1 if both are equal, else 0. May be called from several threads.

    Source:
        math-verify 0.9 with its defaults: `parse` of either in LaTeX or as an expression, then
        `verify`. A right answer that math-verify cannot read equals only the same text.

    Example:
        >>> math_equal(r"\frac{1}{4}", "0.25"), math_equal("4", "5")
        (1.0, 0.0)
    """
    if answer.strip() == truth.strip():
        return 1.0
    return _compared(answer, truth)


@lru_cache(maxsize=65_536)
def _compared(answer: str, truth: str) -> float:
    found = _PROCESS.compare(answer, truth)
    if isinstance(found, bool):
        return float(found)
    _LOG.warning(
        "math-verify could not compare the answer %r with %r (%s): it counts as wrong",
        *(answer[:_SHOWN], truth[:_SHOWN], found.detail),
    )
    return 0.0


class _Process:
    """One process that compares, started when it is first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: IsolatedPool[tuple[str, str], bool] | None = None

    def compare(self, answer: str, truth: str) -> bool | Failure:
        with self._lock:
            if self._pool is None:
                # Not before it is needed: sympy takes a while to load.
                from assay_trainer.answers.metrics.math_process import compare

                self._pool = IsolatedPool(compare, workers=1, deadline_seconds=DEADLINE_SECONDS)
                atexit.register(self._pool.__exit__, None, None, None)
            return next(self._pool.map([(answer, truth)]))


_PROCESS = _Process()
